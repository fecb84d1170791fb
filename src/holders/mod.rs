//! Who holds a lock, and who waits for it, as far as `/proc` tells.
