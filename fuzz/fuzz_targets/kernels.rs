//! All instruction sets of this machine compute the same as the scalar code.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| aei::bench_internals::check_kernels(data));
