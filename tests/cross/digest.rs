//! Prints the digest of what files decode to: `digest [--model FILE] [--threads N] FILE...`.
//!
//! A line a file: `<SHA-256 of the samples>  <name>  <width>x<height>x<channels>`, or `refused <rule>  <name>`: the lines of
//! `format-spec/vectors/digests.txt`. Needs none of the crate's features, so that the decoder can be checked on any machine that Rust compiles for.

use std::error::Error;
use std::fs::File;
use std::path::Path;

use aei::{Decoder, DecoderOptions, Model};
use sha2::{Digest, Sha256};

fn digest(path: &str, options: &DecoderOptions) -> Result<String, Box<dyn Error>> {
    let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned();
    match Decoder::with_options(File::open(path)?, options.clone()).and_then(|decoder| decoder.decode()) {
        Ok(picture) => {
            let hex: String = Sha256::digest(picture.samples()).iter().map(|byte| format!("{byte:02x}")).collect();
            Ok(format!("{hex}  {name}  {}x{}x{}", picture.width(), picture.height(), picture.channels().count()))
        }
        Err(aei::Error::Format(error)) => Ok(format!("refused {}  {name}", error.rule())),
        // Messages of other refusals end in their rule: "(R2.4)".
        Err(error) => Ok(format!("refused {}  {name}", error.to_string().rsplit(['(', ')']).nth(1).unwrap_or("?"))),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut options = DecoderOptions::default();
    let mut threads = 0;
    let mut files = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--model" => options.model = Some(Model::from_bytes(std::fs::read(arguments.next().ok_or("--model needs a file")?)?)?),
            "--threads" => threads = arguments.next().ok_or("--threads needs a number")?.parse()?,
            _ => files.push(argument),
        }
    }
    let run = || -> Result<(), String> {
        for file in &files {
            println!("{}", digest(file, &options).map_err(|error| format!("{file}: {error}"))?);
        }
        Ok(())
    };
    // A machine without threads runs everything on the one it has.
    match rayon::ThreadPoolBuilder::new().num_threads(threads).build() {
        Ok(pool) => pool.install(run)?,
        Err(_) => run()?,
    }
    Ok(())
}
