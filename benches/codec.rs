//! Speed: whole pictures, start-up. Run `cargo bench --bench codec`; throughput in elements is pixels.

use std::hint::black_box;

use aei::{Decoder, Encoder, Model, Picture, Quality};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// A photo-like picture of two megapixels: the crop in `tests/data`, mirrored again and again.
fn photo() -> Picture {
    let (crop, _) = aei::read_picture(include_bytes!("../tests/data/budgie.jpg")).unwrap();
    let (width, height, side) = (1920, 1080, crop.width());
    let mirror = |v: u32| if (v / side).is_multiple_of(2) { v % side } else { side - 1 - v % side };
    let samples = (0..height)
        .flat_map(|y| (0..width).flat_map(move |x| (0..3).map(move |c| (mirror(y) * side + mirror(x)) * 3 + c)))
        .map(|at| crop.samples()[at as usize])
        .collect();
    Picture::rgb(width, height, samples).unwrap()
}

fn codec(c: &mut Criterion) {
    let picture = photo();
    let pixels = u64::from(picture.width()) * u64::from(picture.height());
    let mut group = c.benchmark_group("2 megapixels");
    group.throughput(Throughput::Elements(pixels)).sample_size(10);
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let encoder = Encoder::new().quality(Quality::default());
        let file = encoder.encode(&picture).unwrap();
        group.bench_function(format!("encode, {threads} threads"), |b| b.iter(|| pool.install(|| encoder.encode(black_box(&picture)).unwrap())));
        group.bench_function(format!("decode, {threads} threads"), |b| {
            b.iter(|| pool.install(|| Decoder::new(black_box(&file[..])).unwrap().decode().unwrap()))
        });
    }
    group.finish();
}

fn model(c: &mut Criterion) {
    let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/models/aei1/model.aem")).unwrap();
    // The embedded model loads once per process and in parts; a model from a file is hashed, checked and unpacked whole, an upper bound.
    c.bench_function("load a model from memory, all networks", |b| b.iter(|| Model::from_bytes(black_box(bytes.clone())).unwrap()));
}

criterion_group!(benches, codec, model);
criterion_main!(benches);
