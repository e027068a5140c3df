//! The reference: plain Rust, every machine.

use super::{BLOCK, Dense, Depthwise, Epilogue, Kernel, Segment, check_dense, check_depthwise};

pub(crate) struct Scalar;

/// `sat16(acc >> shift)`; the rounding term is already in the accumulator.
#[inline(always)]
pub(super) fn requantise(acc: i32, shift: i32) -> i16 {
    (acc >> shift).clamp(i16::MIN.into(), i16::MAX.into()) as i16
}

impl Kernel for Scalar {
    fn name(&self) -> &'static str {
        "scalar"
    }

    fn dense(&self, layer: &Dense, input: &[Segment<'_>], positions: usize, out: &mut [i16], out_stride: usize, epilogue: Epilogue) {
        check_dense(layer, input, positions, out, out_stride, epilogue);
        let pairs = layer.inputs / 2;
        for n in 0..positions {
            let out = &mut out[n * out_stride..];
            let mut gated = [0; BLOCK];
            for block in 0..layer.outputs / BLOCK {
                let outputs = block * BLOCK..(block + 1) * BLOCK;
                let mut acc = [0; BLOCK];
                acc.copy_from_slice(&layer.bias[outputs.clone()]);
                let mut lines = layer.weights[block * pairs..][..pairs].iter();
                for segment in input {
                    let x = &segment.data[n * segment.stride..][..segment.len];
                    for (x, line) in x.chunks_exact(2).zip(&mut lines) {
                        for (acc, w) in acc.iter_mut().zip(line.0.chunks_exact(2)) {
                            let products = i32::from(x[0]) * i32::from(w[0]);
                            *acc = acc.wrapping_add(products).wrapping_add(i32::from(x[1]) * i32::from(w[1]));
                        }
                    }
                }
                let mut result = [0; BLOCK];
                for ((result, acc), shift) in result.iter_mut().zip(acc).zip(&layer.shift[outputs.clone()]) {
                    *result = requantise(acc, *shift);
                }
                match epilogue {
                    Epilogue::Store => out[outputs].copy_from_slice(&result),
                    Epilogue::Leaky => {
                        for (out, r) in out[outputs].iter_mut().zip(result) {
                            *out = if r >= 0 { r } else { r >> 3 };
                        }
                    }
                    Epilogue::Add => {
                        for (out, r) in out[outputs].iter_mut().zip(result) {
                            *out = out.saturating_add(r);
                        }
                    }
                    Epilogue::Gate(_) if block % 2 == 0 => gated = result,
                    Epilogue::Gate(fraction) => {
                        let (one, half) = (1 << fraction, 1 << (fraction - 1));
                        for ((out, a), b) in out[block / 2 * BLOCK..][..BLOCK].iter_mut().zip(gated).zip(result) {
                            let product = (i32::from(a) * i32::from(b).clamp(-one, one) + half) >> fraction;
                            // The one result that 16 bits cannot hold is that of -32768 and -1.
                            *out = product.min(i16::MAX.into()) as i16;
                        }
                    }
                }
            }
        }
    }

    fn depthwise(&self, layer: &Depthwise, rows: [&[i16]; 3], width: usize, out: &mut [i16]) {
        check_depthwise(layer, rows, width, out);
        let channels = layer.channels;
        for column in 0..width {
            let out = &mut out[column * channels..][..channels];
            for (c, out) in out.iter_mut().enumerate() {
                let mut acc = layer.bias[c];
                for (i, row) in rows.iter().enumerate() {
                    for j in 0..3 {
                        if (1..=width).contains(&(column + j)) {
                            let x = row[(column + j - 1) * channels + c];
                            acc = acc.wrapping_add(i32::from(x) * i32::from(layer.weights[(i * 3 + j) * channels + c]));
                        }
                    }
                }
                *out = requantise(acc, layer.shift[c]);
            }
        }
    }
}
