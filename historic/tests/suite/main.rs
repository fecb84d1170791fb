//! The compliance suite of the older tools, a file for each tool.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, missing_docs)]

mod loto;
mod me_only;
mod runlock;
mod supervisor;
mod ulock;
