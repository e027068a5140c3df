//! Any symbols under any tables come back; any bytes decode to symbols or an error, never to a crash.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: (Vec<(i32, u8)>, Vec<u8>)| aei::bench_internals::check_entropy(&data.0, &data.1));
