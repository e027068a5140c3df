//! Speed of the parts: entropy coding, each network, each kernel. Run `cargo bench --features bench-internals --bench parts`; throughput in elements is symbols
//! for entropy coding, pixels for networks, and products for kernels, but values for their trellis. Everything but the networks runs on one thread; `RAYON_NUM_THREADS` sets theirs.

use std::hint::black_box;

use aei::bench_internals::{EntropyCoding, KernelBench, Networks};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn entropy_coding(c: &mut Criterion) {
    const SYMBOLS: usize = 100_000;
    let coding = EntropyCoding::new(SYMBOLS).unwrap();
    let stream = coding.encode().unwrap();
    let mut group = c.benchmark_group("entropy coding");
    group.throughput(Throughput::Elements(SYMBOLS as u64));
    group.bench_function("encode", |b| b.iter(|| coding.encode().unwrap()));
    group.bench_function("decode", |b| b.iter(|| coding.decode(black_box(&stream)).unwrap()));
    group.finish();
}

fn networks(c: &mut Criterion) {
    // A tile of 512 x 512 pixels.
    let networks = Networks::new(32, 32).unwrap();
    let mut group = c.benchmark_group("networks, 512 x 512 pixels");
    group.throughput(Throughput::Elements(512 * 512)).sample_size(10);
    group.bench_function("analysis", |b| b.iter(|| networks.analysis().unwrap()));
    group.bench_function("hyper-analysis", |b| b.iter(|| networks.hyper_analysis().unwrap()));
    group.bench_function("entropy network", |b| b.iter(|| networks.entropy().unwrap()));
    group.bench_function("synthesis", |b| b.iter(|| networks.synthesis().unwrap()));
    group.finish();
}

fn kernels(c: &mut Criterion) {
    for mut kernel in KernelBench::all().unwrap() {
        let mut group = c.benchmark_group(format!("kernel {}", kernel.name()));
        group.sample_size(20);
        group.throughput(Throughput::Elements(kernel.dense_products()));
        group.bench_function("1x1", |b| b.iter(|| black_box(kernel.dense()).len()));
        group.throughput(Throughput::Elements(kernel.depthwise_products()));
        group.bench_function("3x3 depthwise", |b| b.iter(|| black_box(kernel.depthwise()).len()));
        group.throughput(Throughput::Elements(kernel.values()));
        for states in KernelBench::states() {
            group.bench_function(format!("trellis of {states} states"), |b| b.iter(|| black_box(kernel.viterbi(states)).len()));
        }
        group.finish();
    }
}

criterion_group!(benches, entropy_coding, networks, kernels);
criterion_main!(benches);
