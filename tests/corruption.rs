//! Random damage: what changes a file is refused, and what salvage gives is exact out of the reach of what it says is lost.

mod common;

use std::collections::BTreeMap;

use aei::{Channels, Decoder, Lossless, LostTile, Picture};
use common::{scene, tiny_encoder, tiny_options};

/// How far a lost tile reaches into its neighbours with models of this depth (R5.10), in pixels.
const REACH: u32 = 80;

/// xorshift64*, Vigna 2016.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % n.max(1) as u64) as usize
    }
}

/// Where the chunks of a sound file start, and its length.
fn starts(file: &[u8]) -> Vec<usize> {
    let mut starts = vec![8];
    while starts[starts.len() - 1] < file.len() {
        let at = starts[starts.len() - 1];
        starts.push(at + 12 + u32::from_le_bytes(file[at + 4..at + 8].try_into().unwrap()) as usize);
    }
    starts
}

/// Damages a copy, and names the kind of damage.
fn damage(file: &[u8], random: &mut Random) -> (&'static str, Vec<u8>) {
    let (mut bytes, starts) = (file.to_vec(), starts(file));
    let (a, b) = (random.below(file.len()), random.below(file.len()));
    let (low, high) = (a.min(b), a.max(b));
    let chunk = |i: usize| file[starts[i]..starts[i + 1]].to_vec();
    let (i, j) = (random.below(starts.len() - 1), random.below(starts.len() - 1));
    let kind = match random.below(9) {
        0..=2 => {
            bytes[a] ^= 1 << random.below(8);
            "one bit"
        }
        3 => {
            bytes[low..high.min(low + 32)].iter_mut().for_each(|byte| *byte = random.below(256) as u8);
            "up to 32 bytes"
        }
        4 => {
            bytes.truncate(a);
            "truncated"
        }
        5 => {
            bytes.drain(low..high.min(low + 100));
            "bytes missing"
        }
        6 => {
            bytes.splice(a..a, (0..random.below(50) + 1).map(|i| (i * 91) as u8));
            "bytes inserted"
        }
        7 => {
            bytes.splice(starts[j]..starts[j], chunk(i));
            "a chunk twice"
        }
        _ => {
            bytes.splice(starts[j]..starts[j + 1], chunk(i));
            "a chunk replaced"
        }
    };
    (kind, bytes)
}

fn far_pixels_are_equal(a: &Picture, b: &Picture, lost: &[LostTile]) -> bool {
    let (width, n) = (a.width(), a.channels().count());
    let near = |x: u32, y: u32| lost.iter().any(|t| x + REACH >= t.x && x < t.x + t.width + REACH && y + REACH >= t.y && y < t.y + t.height + REACH);
    (a.width(), a.height()) == (b.width(), b.height())
        && a.samples().chunks_exact(n).zip(b.samples().chunks_exact(n)).enumerate().all(|(i, (a, b))| a == b || near(i as u32 % width, i as u32 / width))
}

fn corrupt(count: usize) {
    let files: Vec<(Vec<u8>, Picture)> = [
        (90, 70, 256, Channels::Rgb, Lossless::Never),
        (600, 300, 256, Channels::Rgb, Lossless::Never),
        (130, 700, 256, Channels::Gray, Lossless::Never),
        (64, 64, 1024, Channels::Rgb, Lossless::Never),
        (300, 290, 256, Channels::Rgb, Lossless::Always),
    ]
    .into_iter()
    .map(|(width, height, tile, channels, lossless)| {
        let file = tiny_encoder(tile).lossless(lossless).encode(&scene(width, height, channels, 3)).unwrap();
        let picture = Decoder::with_options(&file[..], tiny_options()).unwrap().decode().unwrap();
        (file, picture)
    })
    .collect();
    let mut salvaging = tiny_options();
    salvaging.salvage = true;
    let mut random = Random(0x5EED_1234_5678_9ABC);
    // Of each kind: all, refused, harmless (the same pixels), salvaged with losses, salvaged without any, nothing to salvage.
    let mut counts: BTreeMap<&str, [usize; 6]> = BTreeMap::new();
    for number in 0..count {
        let (file, picture) = &files[number % files.len()];
        let (kind, bytes) = damage(file, &mut random);
        if bytes == *file {
            continue;
        }
        let count = counts.entry(kind).or_default();
        count[0] += 1;
        match Decoder::with_options(&bytes[..], tiny_options()).and_then(|decoder| decoder.decode()) {
            Err(_) => count[1] += 1,
            Ok(decoded) => {
                // Behind IEND there may be anything; all else is in a sum or a sum itself.
                assert!(kind != "one bit" && decoded == *picture, "case {number}: damage ({kind}) went unnoticed");
                count[2] += 1;
            }
        }
        match Decoder::with_options(&bytes[..], salvaging.clone()).and_then(|decoder| decoder.decode_salvaged()) {
            Err(_) => count[5] += 1,
            Ok((salvaged, damage)) => {
                assert!(far_pixels_are_equal(&salvaged, picture, &damage.tiles), "case {number} ({kind}): {damage:?}");
                count[if damage.tiles.is_empty() { 4 } else { 3 }] += 1;
            }
        }
    }
    println!("{:18} {:>6} {:>8} {:>9} {:>12} {:>12} {:>6}", "damage", "files", "refused", "harmless", "tiles lost", "none lost", "lost");
    for (kind, [all, refused, harmless, lost, unharmed, nothing]) in counts {
        println!("{kind:18} {all:6} {refused:8} {harmless:9} {lost:12} {unharmed:12} {nothing:6}");
    }
}

#[test]
fn six_hundred_files() {
    corrupt(600);
}

#[test]
#[ignore = "takes a minute"]
fn ten_thousand_files() {
    corrupt(10_000);
}
