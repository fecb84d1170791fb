# make                     build the static programs and the bash builtin (for a Rust TARGET)
# make install             install flock, its builtin, helpers, manual and completions (PREFIX, DESTDIR)
# make install-historic    install the historic tools: loto, me-only, runlock and ulock
# make uninstall           remove what `make install` has installed
# make uninstall-historic  remove what `make install-historic` has installed
# make test                run all checks: format, lints, unit, doc and compliance tests
# make bashes              download more versions of bash for `make test` to test the builtin in
# make nfs                 check locks on NFS, SMB and other file systems, in a virtual machine
# make soak                run the stress tests of the compliance suite for a long time, and larger models
# make cross               run the suite on i686, and a part of it in qemu-user on other processors
# make reference           run the compliance suite against util-linux's flock
# make bench               run the benchmarks; updates benches/results and benches/README.md
# make docs                generate --help, the option lists of the manuals and completions (cargo xtask docs)
# make pictures            draw the pictures of a terminal in docs/pictures, from a real run
# make link-order          record what frequent calls execute; updates scripts/order.ld
# make fuzz                fuzz the parsers (needs nightly Rust and cargo-fuzz)
# make deny                check licences and duplicates of dependencies (needs cargo-deny)
# make dist                pack the static programs in a tarball below target/packaging
# make deb, make rpm       build packages for Debian or Fedora there (docs/packages.md)
# make package-test        test all packages; parts of it need root and the network

PREFIX = /usr/local
DESTDIR =
CARGO = cargo
INSTALL = install
STRIP = strip
# The Rust target of the programs, such as aarch64-unknown-linux-musl: empty for this machine.
TARGET =
# The systems whose locks `flock` can take by a helper, such as etcd://host/name. REMOTE= builds and
# installs none.
REMOTE = etcd postgres ssh
# Other names of a helper: etcds://host/name is the same by TLS.
NAMES_etcd = etcds
NAMES_postgres = postgresql
# The program for `make reference`, and the one that `make bench` compares with.
REFERENCE = /usr/bin/flock

# Not installed with flock, because Debian's cronutils contains a different /usr/bin/runlock.
HISTORIC = loto me-only runlock ulock

bindir = $(PREFIX)/bin
man1dir = $(PREFIX)/share/man/man1
bashdir = $(PREFIX)/share/bash-completion/completions
zshdir = $(PREFIX)/share/zsh/site-functions
fishdir = $(PREFIX)/share/fish/vendor_completions.d
builtindir = $(PREFIX)/lib/bash
helperdir = $(PREFIX)/libexec/fdlock

# All installed programs. The one that is copied last is the target for all of them. It is a file,
# not a phony target, so that after `make` root can run `make install install-historic` without
# cargo.
OUT = target/install$(addprefix -,$(TARGET))
BUILT = $(OUT)/flock
# The same program with its symbols, for the test of the link order.
UNSTRIPPED = $(OUT)/flock.unstripped
HELPERS = $(addprefix flock-,$(REMOTE))
SOURCES = $(shell find src builtin/src historic/src remote/src -type f) Cargo.toml builtin/Cargo.toml historic/Cargo.toml remote/Cargo.toml Cargo.lock .cargo/config.toml build.rs \
    scripts/order.ld scripts/build-target.sh scripts/build-builtin.sh scripts/cross-tools.sh

# The installed files that are tested.
STAGE = $(CURDIR)/target/stage
TEST_RUNS = test-development test-installed test-installed-local test-installed-remote test-through-builtin

PACKAGE_TESTS = crate-test dist-test container-test deb-test rpm-test

.PHONY: all install install-historic uninstall uninstall-historic test $(TEST_RUNS) bashes nfs lint soak cross reference bench docs \
    pictures link-order fuzz deny clean dist deb rpm package-test $(PACKAGE_TESTS)

all: $(BUILT)

# Copied once more after stripping: strip writes in pieces, and until the file is next read from
# disk the page cache keeps it in a form that counts as more memory of each process.
#
# The sources of the dependencies are named as if below /cargo, so that the programs do not depend on
# who builds them.
#
# The helpers are built by themselves, so that no feature of a library that they need gets into the
# other programs.
$(BUILT): $(SOURCES)
	mkdir -p $(OUT) target && \
	printf '[target."cfg(unix)"]\nrustflags = ["--remap-path-prefix=%s=/cargo"]\n' \
	    "$${CARGO_HOME:-$$HOME/.cargo}" >target/remap.toml && \
	export CARGO="$(CARGO) --config target/remap.toml" && \
	target=$$(scripts/build-target.sh $(TARGET)) && STRIP='$(STRIP)' && \
	tools=$$(scripts/cross-tools.sh "$$target") && eval "$$tools" && \
	CARGO_PROFILE_RELEASE_STRIP=false \
	    $$CARGO build --locked --release --package fdlock --package fdlock-historic --bins --target "$$target" --target-dir target && \
	{ [ -z '$(HELPERS)' ] || CARGO_PROFILE_RELEASE_STRIP=false \
	    $$CARGO build --locked --release --package fdlock-remote --features tls --bins --target "$$target" --target-dir target; } && \
	scripts/build-builtin.sh $(OUT)/flock.so $(TARGET) && \
	cp "target/$$target/release/flock" $(UNSTRIPPED) && \
	for name in $(HISTORIC) $(HELPERS) flock; do \
	    $$STRIP -o $(OUT)/stripped "target/$$target/release/$$name" && \
	    cp $(OUT)/stripped $(OUT)/$$name.new && mv $(OUT)/$$name.new $(OUT)/$$name || exit 1; \
	done && \
	rm $(OUT)/stripped

# Install or remove a program, its manual and its completions.
define install_program
$(INSTALL) -m 755 $(OUT)/$(1) $(DESTDIR)$(bindir)/$(1)
$(INSTALL) -m 644 man/$(1).1 $(DESTDIR)$(man1dir)/$(1).1
$(INSTALL) -m 644 completions/$(1).bash $(DESTDIR)$(bashdir)/$(1)
$(INSTALL) -m 644 completions/_$(1) $(DESTDIR)$(zshdir)/_$(1)
$(INSTALL) -m 644 completions/$(1).fish $(DESTDIR)$(fishdir)/$(1).fish

endef

define remove_program
rm -f $(DESTDIR)$(bindir)/$(1) $(DESTDIR)$(man1dir)/$(1).1 $(DESTDIR)$(bashdir)/$(1) \
    $(DESTDIR)$(zshdir)/_$(1) $(DESTDIR)$(fishdir)/$(1).fish

endef

define install_helper
$(INSTALL) -d $(DESTDIR)$(helperdir)
$(INSTALL) -m 755 $(OUT)/flock-$(1) $(DESTDIR)$(helperdir)/flock-$(1)
$(foreach name,$(NAMES_$(1)),ln -sf flock-$(1) $(DESTDIR)$(helperdir)/flock-$(name))

endef

define create_directories
$(INSTALL) -d $(DESTDIR)$(bindir) $(DESTDIR)$(man1dir) $(DESTDIR)$(bashdir) $(DESTDIR)$(zshdir) $(DESTDIR)$(fishdir)
endef

install: $(BUILT)
	$(create_directories)
	$(INSTALL) -d $(DESTDIR)$(builtindir)
	$(INSTALL) -m 755 $(OUT)/flock.so $(DESTDIR)$(builtindir)/flock
	$(foreach name,$(REMOTE),$(call install_helper,$(name)))
	$(call install_program,flock)

install-historic: $(BUILT)
	$(create_directories)
	$(foreach name,$(HISTORIC),$(call install_program,$(name)))

uninstall:
	rm -f $(DESTDIR)$(builtindir)/flock
	rm -f $(addprefix $(DESTDIR)$(helperdir)/flock-,etcd etcds postgres postgresql ssh)
	[ ! -d $(DESTDIR)$(helperdir) ] || rmdir --ignore-fail-on-non-empty $(DESTDIR)$(helperdir)
	$(call remove_program,flock)

uninstall-historic:
	$(foreach name,$(HISTORIC),$(call remove_program,$(name)))

# Test modules that do not involve the builtin: the recipes, the sources, the recorded system calls,
# the stress tests, which kill many processes and identify them by their exit status, and those that
# kill what watches over a lease, or take locks in real servers. In the third run, all other tests
# call every form of `flock` through a bash that has loaded the builtin.
NOT_THROUGH_BUILTIN = builtin:: storm:: recipes:: fuzzing:: architecture:: installing:: traces:: remote::lease:: remote::kills:: remote::handle::loss:: remote::handle::kills:: remote::handle::trace:: remote::engines:: remote::etcd:: remote::postgres:: remote::ssh::

# What takes long is tried as it is installed: stress tests, the builtin in all versions of bash, the
# historic tools, and locks elsewhere, whose tests wait for leases to end.
NOT_IN_DEVELOPMENT = storm:: hostile:: builtin:: remote::lease:: remote::kills:: remote::handle:: remote::ssh::

# Most tests wait for other processes or for a timeout, so three times as many run as there are
# processors.
export RUST_TEST_THREADS ?= $(shell expr 3 \* $$(nproc))

# The suite runs three times: without stress tests and the builtin against the development build
# (glibc on most machines), against the installed program, and against the installed program called
# through the builtin. The programs are built during the first run: its tests mostly wait, and the
# linker uses one processor.
test: lint
	$(CARGO) test --locked --workspace --no-run
	$(MAKE) -j2 test-development $(BUILT)
	rm -rf target/stage
	$(MAKE) install install-historic DESTDIR=$(STAGE) PREFIX=/usr
	$(MAKE) test-installed
	$(MAKE) test-through-builtin

# Tests run make themselves: without MAKEFLAGS, theirs does not look for the job server of this one.
test-development:
	MAKEFLAGS= $(CARGO) test --locked --workspace --lib
	MAKEFLAGS= $(CARGO) test --locked --workspace --exclude fdlock-historic --test '*' -- \
	    $(addprefix --skip ,$(NOT_IN_DEVELOPMENT))

# One after the other: side by side, they take longer, because tests that wait look at all processes.
test-installed: test-installed-local test-installed-remote

test-installed-local test-installed-remote:
	MAKEFLAGS= FLOCK_UNDER_TEST=$(STAGE)/usr/bin/flock FLOCK_UNSTRIPPED=$(CURDIR)/$(UNSTRIPPED) \
	    $(CARGO) test --locked --workspace --test suite -- $(TESTS_OF_$@)

# They hardly use the processor.
test-installed-remote: export RUST_TEST_THREADS := $(shell expr 6 \* $$(nproc))

TESTS_OF_test-installed-local = --skip remote::
TESTS_OF_test-installed-remote = remote::

# For a selection of packages, cargo may select other features of libraries, and compile them again.
test-through-builtin:
	MAKEFLAGS= FLOCK_UNDER_TEST=$(STAGE)/usr/bin/flock FLOCK_THROUGH_BUILTIN=1 \
	    $(CARGO) test --locked --workspace --exclude fdlock-historic --test suite -- \
	    $(addprefix --skip ,$(NOT_THROUGH_BUILTIN))

# Never fails: versions that are not available are skipped.
bashes:
	scripts/other-bashes.sh

# Skipped, with a message, where apt or qemu is missing. CHECKS names some of the file systems.
nfs: $(BUILT)
	rm -rf target/nfs/stage
	$(MAKE) install install-historic DESTDIR=$(CURDIR)/target/nfs/stage PREFIX=/usr >/dev/null
	tests/nfs/run.sh $(CHECKS)

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	[ -z '$(REMOTE)' ] || $(CARGO) clippy --locked --package fdlock-remote --features tls -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --quiet

soak: $(BUILT)
	FDLOCK_STORM=30 FLOCK_UNDER_TEST=$(CURDIR)/$(BUILT) $(CARGO) test --locked --workspace --test suite storm -- --nocapture
	FDLOCK_MODEL_PROCESSES=4 $(CARGO) test --locked --package models -- --nocapture --test-threads 1

# Skips what is not available here, and says so.
cross: $(BUILT)
	scripts/cross.sh

# Test modules of options that util-linux does not have, or that run examples with such options.
NOT_IN_REFERENCE = also:: bounded:: fair:: lock_errors:: named:: queue:: recipes:: remote:: replacing:: slots:: traces:: unlink:: who::

reference:
	FLOCK_UNDER_TEST=$(REFERENCE) $(CARGO) test --locked --test suite -- $(addprefix --skip ,$(NOT_IN_REFERENCE))

bench: $(BUILT)
	$(CARGO) run --locked --release --manifest-path benches/Cargo.toml -- \
	    --flock $(CURDIR)/$(BUILT) --builtin $(CURDIR)/$(OUT)/flock.so --reference $(REFERENCE) --out benches/results
	sed -n '/^## Targets/,/^## Everything/{/^|/p}' benches/results/results.md >target/targets.md
	sed -i -e '/<!-- results: begin/,/<!-- results: end/{//!d}' -e '/<!-- results: begin/r target/targets.md' benches/README.md

docs:
	$(CARGO) xtask docs

pictures: $(BUILT)
	FLOCK_UNDER_TEST=$(CURDIR)/$(BUILT) $(CARGO) xtask pictures

link-order: $(BUILT)
	$(CARGO) xtask link-order $(CURDIR)/$(UNSTRIPPED) >target/order.ld
	mv target/order.ld scripts/order.ld

fuzz:
	cd fuzz && for target in words values; do $(CARGO) +nightly fuzz run $$target -- -max_total_time=60 || exit 1; done

deny:
	$(CARGO) deny --workspace check licenses bans sources

dist deb rpm: $(BUILT)
	packaging/$@.sh $(TARGET)

$(PACKAGE_TESTS):
	packaging/tests/$(@:-test=).sh

package-test: $(PACKAGE_TESTS)

clean:
	$(CARGO) clean
