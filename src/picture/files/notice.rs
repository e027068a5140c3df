//! What is worth a line on the screen after a file was read or written.

use std::fmt;

use super::FileFormat;

/// Something about a picture file that did not make it into the [`Picture`](crate::Picture) or out of it, or not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// The file holds several pictures (frames of an animation, pages). The first one was read.
    FirstOfSeveral {
        /// How many there are.
        pictures: u32,
    },
    /// The file says that its colours are not those of sRGB, by other means than a colour profile, and there is no profile that says the same. The samples were
    /// taken as they are, so colours may look different.
    Colours {
        /// What it says.
        stated: String,
    },
    /// The colours of ink (CMYK) were converted to sRGB.
    Cmyk {
        /// Whether by a colour profile in the file. Without one there is no right way, and colours are a guess.
        by_profile: bool,
    },
    /// The file ends early. What is missing was filled in by its decoder, usually with gray.
    Incomplete,
    /// A block of metadata was left out.
    LeftOut {
        /// Which one.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// The format that is written has 8 bits at most. The samples were rounded.
    Rounded {
        /// That format.
        format: FileFormat,
    },
    /// The format that is written has no transparency. The picture was put on a white background.
    Flattened {
        /// That format.
        format: FileFormat,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstOfSeveral { pictures } => write!(f, "it holds {pictures} pictures; only the first was read"),
            Self::Colours { stated } => write!(f, "its colours are not sRGB ({stated}), and no colour profile can say so; they may look different"),
            Self::Cmyk { by_profile: true } => write!(f, "its CMYK colours were converted to sRGB by its colour profile"),
            Self::Cmyk { by_profile: false } => {
                write!(f, "its CMYK colours have no colour profile; they were converted by a simple rule and may look different")
            }
            Self::Incomplete => write!(f, "the file ends early; what is missing was filled in"),
            Self::LeftOut { what, why } => write!(f, "its {what} was left out: {why}"),
            Self::Rounded { format } => write!(f, "{format} is written with 8 bits a sample; the 16-bit samples were rounded"),
            Self::Flattened { format } => write!(f, "{format} has no transparency; the picture was put on white"),
        }
    }
}
