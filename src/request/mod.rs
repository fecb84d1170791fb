//! What was asked for: the seam between the words of a command line and what is done about them. One file a program.

pub mod flock;
