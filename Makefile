# `sudo make demo` and `sudo make test` are all there is to set up on a Debian 12 machine: they install what they
# need (packaging/dev/setup/install has the lists) and say so.

GO          := packaging/dev/setup/go
VERSION     := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME    ?= 10s
SOAK        ?= 10m
PHONES      ?= 5
ONCE        ?=
DEB_ARCH     = $(or $(ARCH),$(shell dpkg --print-architecture))

# Only the race detector needs a C compiler. The version is set below; git may refuse to tell root about a user's tree.
export CGO_ENABLED = 0
export GOFLAGS    += -buildvcs=false

.PHONY: help
help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

.PHONY: build
build: deps-build  ## build the programs into build/
	$(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o build/ ./cmd/... ./packaging/dev/lab/demo
	@[ -z "$$SUDO_UID" ] || chown -R "$$SUDO_UID:$$SUDO_GID" build

.PHONY: demo
demo: deps-demo build asterisk-image  ## show phones booting, registering and calling in a lab on this machine (PHONES=200, ONCE=1 to end by itself)
	build/demo -phones $(PHONES) $(if $(ONCE),-once)

.PHONY: test
test: test-ready  ## unit tests, tests against real programs in network namespaces, and on a booted Debian
	CGO_ENABLED=1 $(GO) test -race -count=1 -timeout 40m ./...
	$(GO) test -count=1 -run "^TestWorkOf|^TestBytesWritten" ./dhcpd/... ./tftpd # limits on allocations, which -race has more of

# What the tests need: packages, programs and images.
.PHONY: test-ready
test-ready: root deps-test build apt-repo system-image asterisk-image docker-images

.PHONY: test-suite
test-suite: test-ready  ## all tests five times, also on busy processors and as on a router
	packaging/dev/suite

.PHONY: test-vm
test-vm: root deps-test-vm build apt-repo  ## install, reboot and power cut on an emulated machine with Debian's own kernel
	packaging/dev/vm/image build/_vm
	$(GO) test -tags vm -v -count=1 -timeout 60m ./packaging/dev/vm

.PHONY: test-jitsi
test-jitsi: root deps-test docker-images  ## Debian's nginx and prosody with the templates of Jitsi's images, from GitHub
	packaging/dev/docker/jitsi build/_jitsi
	$(GO) test -tags templates -v -count=1 -run TestRealServers ./agent/stacks/kind/jitsi

.PHONY: screenshots
screenshots: root deps-test build asterisk-image  ## take the pictures of docs/console.md, in a real browser
	mkdir -p docs/console && rm -f docs/console/*.png
	SAE_SCREENSHOTS=$(CURDIR)/docs/console $(GO) test -count=1 -run '^TestBrowser$$' ./cmd/sae-agent
	@[ -z "$$SUDO_UID" ] || chown -R "$$SUDO_UID:$$SUDO_GID" docs/console

.PHONY: lint
lint: deps-build  ## gofmt, go vet, staticcheck
	@files=$$($$($(GO) env GOROOT)/bin/gofmt -l .) && \
	    { [ -z "$$files" ] || { echo "not formatted by gofmt:"; echo "$$files"; exit 1; }; }
	$(GO) vet -tags vm,profile ./...
	$(GO) run $(STATICCHECK) -tags vm,profile ./...

.PHONY: bench
bench: root deps-bench build asterisk-image  ## measure against other servers, which Debian's packages bring, and under attack
	$(GO) run ./packaging/dev/bench
	$(GO) run ./packaging/dev/bench/attack
	$(GO) run ./packaging/dev/bench/console

.PHONY: profile
profile: root deps-bench  ## write CPU and allocation profiles of the daemon under each load into build/profiles
	$(GO) build -trimpath -tags profile -o build/profiled/ ./cmd/sae-agent ./cmd/phonesim
	PATH="$$($(CURDIR)/$(GO) env GOROOT)/bin:$$PATH" $(GO) run ./packaging/dev/bench -build build/profiled -profile build/profiles

.PHONY: fuzz
fuzz: root deps-build  ## run every fuzz target for FUZZTIME
	@grep -ro --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sed 's|/[^/]*:func | |' | sort | \
	while read -r package target; do \
	    echo "$$package $$target"; \
	    $(GO) test -run='^$$' -fuzz="^$$target\$$" -fuzztime=$(FUZZTIME) -fuzzminimizetime=1s "$$package" || exit 1; \
	done

.PHONY: soak
soak: root deps-soak build  ## every fuzz target for FUZZTIME, then SOAK (10m) of kill -9, damaged lease stores and floods; one table
	$(MAKE) fuzz
	$(GO) run ./packaging/dev/soak -for $(SOAK)

.PHONY: deb
deb: deps-deb  ## build the Debian package into build/ (ARCH=arm64 to cross-build)
	rm -rf build/deb build/*_$(DEB_ARCH).deb
	mkdir -p build/deb
	git -c safe.directory="$(CURDIR)" archive --prefix=source/ HEAD | tar -x -C build/deb
	cd build/deb/source && $(CURDIR)/$(GO) mod vendor && $(CURDIR)/$(GO) run -mod=vendor ./packaging/copyright > debian/copyright
	cd build/deb/source && GOCACHE="$$($(CURDIR)/$(GO) env GOCACHE)" dpkg-buildpackage -us -uc -b $(if $(ARCH),-a$(ARCH))
	mv build/deb/*.deb build/ && rm -rf build/deb
	cd build && lintian --fail-on error,warning --tag-display-limit 0 *_$(DEB_ARCH).deb
	cd build && lintian --show-overrides --fail-on none *_$(DEB_ARCH).deb > lintian.txt

.PHONY: apt-repo
apt-repo: deps-apt-repo deb  ## put the Debian packages of build/ into a signed repository, build/apt (APT_KEY=your gpg key)
	packaging/apt/repo build/apt build/*.deb

# What the tests of packaging/dev/system boot.
.PHONY: system-image
system-image:
	packaging/dev/system/image build/_image

# What the tests of the stacks run: Docker's compose plugin, and images that play the services.
.PHONY: docker-images
docker-images:
	packaging/dev/docker/compose build/_compose
	packaging/dev/docker/images build/_images

# The real Asterisk of tests and demo.
.PHONY: asterisk-image
asterisk-image:
	packaging/dev/asterisk/image build/_asterisk

.PHONY: clean
clean:  ## remove what was built
	rm -rf build

deps-%:
	@packaging/dev/setup/install $*

# Tests make networks and run daemons under accounts of their own, which needs root even in a namespace.
.PHONY: root
root:
	@[ "$$(id -u)" = 0 ] || { echo "This needs root: sudo make $(MAKECMDGOALS)" >&2; exit 1; }
