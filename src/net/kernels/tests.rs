//! Every kernel against the scalar one.

use super::*;

/// A linear congruential generator (Knuth's constants).
pub(super) struct Lcg(pub(super) u64);

impl Lcg {
    pub(super) fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    /// Numbers of the whole range; one in eight is an extreme or next to one.
    pub(super) fn numbers(&mut self, len: usize) -> Vec<i16> {
        let extremes = [i16::MIN, i16::MIN + 1, i16::MAX, i16::MAX - 1, -1, 0, 1, i16::MIN];
        (0..len)
            .map(|_| {
                let random = self.next();
                if random >> 29 == 0 { extremes[(random >> 26 & 7) as usize] } else { (random >> 8) as i16 }
            })
            .collect()
    }

    /// Numbers of at most `bits` bits and sign.
    fn small(&mut self, len: usize, bits: u32) -> Vec<i16> {
        self.numbers(len).into_iter().map(|number| number >> (15 - bits)).collect()
    }

    fn biases(&mut self, len: usize, bits: u32) -> Vec<i32> {
        (0..len).map(|_| self.next() as i32 >> (31 - bits)).collect()
    }

    fn shifts(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.next() >> 16) as u8 % 24 + 1).collect()
    }
}

/// What no kernel may write over.
const GUARD: i16 = 0x5A3C;

fn others() -> Vec<&'static dyn Kernel> {
    available().into_iter().filter(|kernel| kernel.name() != "scalar").collect()
}

/// Runs one dense layer on the scalar kernel and on all others. `parts` are lengths and strides of the input's parts.
fn compare_dense(random: &mut Lcg, parts: &[(usize, usize)], outputs: usize, positions: usize, epilogue: Epilogue, weight_bits: u32) {
    let inputs = parts.iter().map(|(len, _)| len).sum();
    let weights = random.small(inputs * outputs, weight_bits);
    let bias = random.biases(outputs, 2 * weight_bits + 1);
    let shift = random.shifts(outputs);
    let layer = if matches!(epilogue, Epilogue::Gate(_)) { Dense::gate } else { Dense::new }(inputs, outputs, &weights, &bias, &shift);
    // Exactly as long as needed: the last position has no tail, so that a kernel which reads beyond it can be caught by tools.
    let data: Vec<_> = parts.iter().map(|(len, stride)| random.numbers(if positions == 0 { 0 } else { (positions - 1) * stride + len })).collect();
    let input: Vec<_> = parts.iter().zip(&data).map(|(&(len, stride), data)| Segment { data, stride, len }).collect();
    let width = epilogue.width(outputs);
    let out_stride = width + 5;
    let mut before = vec![GUARD; positions * out_stride + 7];
    for position in 0..positions {
        before[position * out_stride..][..width].copy_from_slice(&random.numbers(width));
    }
    let mut expected = before.clone();
    scalar::Scalar.dense(&layer, &input, positions, &mut expected, out_stride, epilogue);
    for (place, _) in expected.iter().enumerate().filter(|(place, _)| place / out_stride >= positions || place % out_stride >= width) {
        assert_eq!(expected[place], GUARD);
    }
    for kernel in others() {
        let mut got = before.clone();
        kernel.dense(&layer, &input, positions, &mut got, out_stride, epilogue);
        assert!(got == expected, "{} differs: {parts:?} -> {outputs}, {positions} positions, {epilogue:?}, {weight_bits} bits", kernel.name());
    }
}

const EPILOGUES: [Epilogue; 6] = [Epilogue::Store, Epilogue::Leaky, Epilogue::Add, Epilogue::Gate(1), Epilogue::Gate(11), Epilogue::Gate(14)];

#[test]
fn dense_agrees_with_scalar_at_every_size() {
    let mut random = Lcg(3);
    for positions in 0..=13 {
        for outputs in (16..=160).step_by(16) {
            for epilogue in EPILOGUES {
                if matches!(epilogue, Epilogue::Gate(_)) && outputs % 32 != 0 {
                    continue;
                }
                for (parts, weight_bits) in
                    [(&[(16, 16)][..], 15), (&[(34, 37)], 9), (&[(6, 9), (14, 14)], 12), (&[(2, 2), (0, 1), (8, 30)], 4), (&[(64, 64), (0, 3), (34, 40)], 12)]
                {
                    compare_dense(&mut random, parts, outputs, positions, epilogue, weight_bits);
                }
            }
        }
    }
}

#[test]
fn dense_agrees_with_scalar_at_the_sizes_of_networks() {
    let mut random = Lcg(4);
    for epilogue in EPILOGUES {
        for (parts, outputs, positions) in [
            (&[(320, 320)][..], 320, 67),
            (&[(192, 192), (320, 333)], 192, 31),
            (&[(512, 1030), (512, 512)], 256, 41),
            (&[(1024, 1024)], 64, 700),
            (&[(128, 128)], 32, 2100),
        ] {
            for weight_bits in [8, 15] {
                compare_dense(&mut random, parts, outputs, positions, epilogue, weight_bits);
            }
        }
    }
}

#[test]
fn dense_agrees_with_scalar_at_the_limits_of_the_accumulator() {
    // All products of one sign and the bias at the limit of R4.1; then beyond it, where the sums wrap.
    for (weight, number) in [(8191, i16::MIN), (-8191, i16::MIN), (8191, i16::MAX), (i16::MIN, i16::MIN), (i16::MIN, i16::MAX)] {
        for bias in [i32::MIN, -32_000, 0, 32_000, i32::MAX] {
            for shift in 1..=24 {
                for (epilogue, positions) in EPILOGUES.into_iter().flat_map(|epilogue| [(epilogue, 3), (epilogue, 21)]) {
                    let (inputs, outputs) = (8, 32);
                    let make = if matches!(epilogue, Epilogue::Gate(_)) { Dense::gate } else { Dense::new };
                    let layer = make(inputs, outputs, &vec![weight; inputs * outputs], &vec![bias; outputs], &vec![shift; outputs]);
                    let data = vec![number; inputs * positions];
                    let input = [Segment { data: &data, stride: inputs, len: inputs }];
                    let mut expected = vec![number; outputs * positions];
                    scalar::Scalar.dense(&layer, &input, positions, &mut expected, outputs, epilogue);
                    for kernel in others() {
                        let mut got = vec![number; outputs * positions];
                        kernel.dense(&layer, &input, positions, &mut got, outputs, epilogue);
                        assert!(got == expected, "{} differs: {weight} * {number} + {bias} >> {shift}, {epilogue:?}", kernel.name());
                    }
                }
            }
        }
    }
}

fn compare_depthwise(random: &mut Lcg, channels: usize, width: usize, weight_bits: u32) {
    let weights = random.small(9 * channels, weight_bits);
    let layer = Depthwise::new(channels, &weights, &random.biases(channels, 2 * weight_bits + 1), &random.shifts(channels));
    let rows = [(); 3].map(|()| random.numbers(channels * width));
    let rows = rows.each_ref().map(Vec::as_slice);
    let before = vec![GUARD; channels * width + 9];
    let mut expected = before.clone();
    scalar::Scalar.depthwise(&layer, rows, width, &mut expected);
    assert_eq!(expected[channels * width..], before[channels * width..]);
    for kernel in others() {
        let mut got = before.clone();
        kernel.depthwise(&layer, rows, width, &mut got);
        assert!(got == expected, "{} differs: {channels} channels, width {width}, {weight_bits} bits", kernel.name());
    }
}

#[test]
fn depthwise_agrees_with_scalar() {
    let mut random = Lcg(5);
    for channels in (16..=96).step_by(16).chain([320]) {
        for width in (0..=9).chain([64]) {
            for weight_bits in [15, 12, 9] {
                compare_depthwise(&mut random, channels, width, weight_bits);
            }
        }
    }
}

#[test]
fn kernels_are_selected_by_name() {
    assert_eq!(select(None).unwrap().name(), available()[0].name());
    assert_eq!(select(Some("scalar")).unwrap().name(), "scalar");
    for (name, probe) in KERNELS {
        let kernel = probe();
        assert!(kernel.is_none_or(|kernel| kernel.name() == *name));
        assert_eq!(select(Some(name)).ok().map(Kernel::name), kernel.map(Kernel::name));
    }
    let message = select(Some("abacus")).err().unwrap();
    assert!(message.contains("abacus") && message.contains("scalar"), "{message}");
}

#[test]
fn groups_cover_the_positions() {
    for positions in 0..60 {
        let mut sizes = Vec::new();
        groups(5..5 + positions, 12, |first, size| {
            assert_eq!(first, 5 + sizes.iter().sum::<usize>());
            sizes.push(size);
        });
        assert_eq!(sizes.iter().sum::<usize>(), positions);
        assert!(sizes.iter().all(|&size| (1..=12).contains(&size) && size + 1 >= sizes[0]));
    }
}

/// Kernels must refuse what does not fit instead of reading or writing beyond a slice.
#[test]
fn short_slices_are_refused() {
    let layer = Dense::new(4, 16, &[1; 64], &[0; 16], &[1; 16]);
    let depthwise = Depthwise::new(16, &[1; 144], &[0; 16], &[1; 16]);
    let data = [1; 12];
    for kernel in available() {
        let dense = |len, stride, available: usize, outs: usize, out_stride| {
            let run = || {
                let input = [Segment { data: &data[..available], stride, len }];
                kernel.dense(&layer, &input, 3, &mut vec![0; outs], out_stride, Epilogue::Store);
            };
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_ok()
        };
        assert!(dense(4, 4, 12, 48, 16));
        assert!(!dense(4, 4, 11, 48, 16));
        assert!(!dense(4, 5, 12, 48, 16));
        assert!(!dense(2, 4, 12, 48, 16));
        assert!(!dense(4, 4, 12, 47, 16));
        assert!(!dense(4, 4, 12, 48, 15));
        assert!(!dense(4, usize::MAX / 2 + 1, 12, 48, 16));
        let row = |rows: [usize; 3], outs: usize| {
            let run = || kernel.depthwise(&depthwise, rows.map(|len| &[1; 32][..len]), 2, &mut vec![0; outs]);
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_ok()
        };
        assert!(row([32, 32, 32], 32));
        assert!(!row([32, 32, 31], 32));
        assert!(!row([31, 32, 32], 32));
        assert!(!row([32, 32, 32], 31));
    }
}

#[test]
fn viterbi_agrees_with_scalar() {
    let mut seed = 3_u64;
    let mut random = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // Often equal, so that ties come up.
        (seed >> 58) as i16 * if seed >> 57 & 1 == 0 { 1 } else { 16 }
    };
    // An odd number of them.
    let branches: Vec<Branches> = (0..75).map(|_| std::array::from_fn(|_| random())).collect();
    for code in TrellisCode::ALL {
        let states = code.states();
        let first: Vec<i16> = (0..states).map(|_| random()).collect();
        let paths = |kernel: &dyn Kernel| {
            let (mut metrics, mut decisions) = ([&first[..], &vec![0; states]].concat(), vec![0; branches.len() * states / 8]);
            kernel.viterbi(code, &mut metrics, &branches, &mut decisions);
            metrics.truncate(states);
            (metrics, decisions)
        };
        let expected = paths(&scalar::Scalar);
        // By the rule itself, one state after the other.
        let following = |state: usize, symbol: usize| {
            let by_state = if state % 2 == 1 { states / 2 + code.by_state() } else { 0 };
            state >> 1 ^ by_state ^ if symbol == 1 { code.by_symbol() } else { 0 }
        };
        let mut metrics: Vec<i16> = (0..states).map(|state| first[place(code, state)]).collect();
        for (branch, decisions) in branches.iter().zip(expected.1.chunks_exact(states / 8)) {
            let mut next = vec![[i16::MAX; 2]; states];
            for (state, metric) in metrics.iter().enumerate() {
                for odd in 0..2 {
                    next[following(state, odd)][odd] = metric - metrics[0] + branch[2 * (state % 2) + odd];
                }
            }
            metrics = next.iter().map(|ways| ways[0].min(ways[1])).collect();
            assert!((0..states).all(|state| {
                let (ways, place) = (next[following(state, 0)], place(code, state));
                (decisions[place / 8] >> (place % 8) & 1 == 1) == (ways[1] < ways[0])
            }));
        }
        assert!(metrics.iter().enumerate().all(|(state, metric)| expected.0[place(code, state)] == *metric));
        for kernel in available() {
            assert!(paths(kernel) == expected, "{} differs with {code:?}", kernel.name());
        }
    }
}
