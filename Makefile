# make            build the static programs
# make install    put programs, manual and completions in place (PREFIX, DESTDIR)
# make test       everything that must pass: format, lints, unit, doc and compliance tests
# make soak       the storms of the compliance suite, for a long time
# make reference  the compliance suite against util-linux's flock
# make bench      measurements, into benches/results
# make docs       the generated parts of the manual and the completions
# make fuzz       the scanner and the parsers against odd input (needs nightly Rust and cargo-fuzz)
# make deny       licences and duplicates of the dependencies (needs cargo-deny)

PREFIX = /usr/local
DESTDIR =
CARGO = cargo
INSTALL = install
# The program that `make reference` and `make bench` compare with.
REFERENCE = /usr/bin/flock

bindir = $(PREFIX)/bin
man1dir = $(PREFIX)/share/man/man1
bashdir = $(PREFIX)/share/bash-completion/completions
zshdir = $(PREFIX)/share/zsh/site-functions
fishdir = $(PREFIX)/share/fish/vendor_completions.d

# What is installed. A file, and not a phony target, so that after `make` root can `make install` without cargo.
BUILT = target/install/flock
SOURCES = $(shell find src -name '*.rs') Cargo.toml Cargo.lock .cargo/config.toml scripts/build-target.sh

.PHONY: all install uninstall test lint soak reference bench docs fuzz deny clean

all: $(BUILT)

$(BUILT): $(SOURCES)
	target=$$(scripts/build-target.sh) && \
	$(CARGO) build --locked --release --target "$$target" --target-dir target && \
	mkdir -p target/install && cp "target/$$target/release/flock" $@.new && mv $@.new $@

install: $(BUILT)
	$(INSTALL) -d $(DESTDIR)$(bindir) $(DESTDIR)$(man1dir) $(DESTDIR)$(bashdir) $(DESTDIR)$(zshdir) $(DESTDIR)$(fishdir)
	$(INSTALL) -m 755 $(BUILT) $(DESTDIR)$(bindir)/flock
	$(INSTALL) -m 644 man/flock.1 $(DESTDIR)$(man1dir)/flock.1
	$(INSTALL) -m 644 completions/flock.bash $(DESTDIR)$(bashdir)/flock
	$(INSTALL) -m 644 completions/_flock $(DESTDIR)$(zshdir)/_flock
	$(INSTALL) -m 644 completions/flock.fish $(DESTDIR)$(fishdir)/flock.fish

uninstall:
	rm -f $(DESTDIR)$(bindir)/flock $(DESTDIR)$(man1dir)/flock.1 $(DESTDIR)$(bashdir)/flock \
	    $(DESTDIR)$(zshdir)/_flock $(DESTDIR)$(fishdir)/flock.fish

# The suite runs twice: against the development build (glibc on most machines), and against what is installed.
test: lint
	$(CARGO) test --locked
	rm -rf target/stage
	$(MAKE) install DESTDIR=$(CURDIR)/target/stage PREFIX=/usr
	FLOCK_UNDER_TEST=$(CURDIR)/target/stage/usr/bin/flock $(CARGO) test --locked --test suite

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --quiet

soak: $(BUILT)
	FDLOCK_STORM=30 FLOCK_UNDER_TEST=$(CURDIR)/$(BUILT) $(CARGO) test --locked --test suite storm -- --nocapture

reference:
	FLOCK_UNDER_TEST=$(REFERENCE) $(CARGO) test --locked --test suite

bench: $(BUILT)
	$(CARGO) run --locked --release --manifest-path benches/Cargo.toml -- \
	    --flock $(CURDIR)/$(BUILT) --reference $(REFERENCE) --out benches/results
	sed -n '/^## Targets/,/^## Everything/{/^|/p}' benches/results/results.md >target/figures
	sed -i -e '/<!-- results: begin/,/<!-- results: end/{//!d}' -e '/<!-- results: begin/r target/figures' README.md

docs:
	FDLOCK_WRITE_DOCS=1 $(CARGO) test --locked --test suite documents

fuzz:
	cd fuzz && for target in words values; do $(CARGO) +nightly fuzz run $$target -- -max_total_time=60 || exit 1; done

deny:
	$(CARGO) deny check licenses bans sources

clean:
	$(CARGO) clean
