# sos-sync: build, test, install. `make help` lists what it does.
BUILD  ?= build
PREFIX ?= /usr/local
CC     ?= cc
ROOMS  ?= base object store link wire agent group plan run cli
OPT    ?= -O2 -g
FUZZ_SECONDS ?= 60
# By another name, as a recipe that says MAKE itself is run under `make -n` too.
MAKE_NAME = $(MAKE)
WARN    = -Wall -Wextra -Wshadow -Wconversion -Werror
CFLAGS_ALL = -std=gnu11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 $(OPT) $(WARN) -pthread -Iinclude -Isrc -MMD -MP $(CFLAGS)
LINK    = $(CC) $(OPT) $(CFLAGS) $(LDFLAGS) -pthread
LIBS    = -larchive -lxxhash -ljansson -lssh2 -lrsync -lzstd -lcrypto -lexpat -ldl -pthread
SANITIZE = -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

# What drives a fuzz target: a main that replays files, or libFuzzer's own (`make fuzz` sets these).
REPLAY    ?= $(BUILD)/obj/tests/fuzz/replay.o
FUZZ_LINK ?=

LIB_SRC = $(foreach r,$(ROOMS),$(wildcard src/$(r)/*.c))
LIB_OBJ = $(LIB_SRC:%.c=$(BUILD)/obj/%.o)
LIB     = $(BUILD)/libsos-sync.a
PROGRAM = $(BUILD)/sos-sync
UNIT    = $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(wildcard tests/unit/test_*.c))
FUZZ    = $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
MAN     = $(wildcard man/*.[1-9])
TOOL_OBJ = $(BUILD)/obj/contrib/bench-loop.o $(BUILD)/obj/contrib/bench-ssh.o $(BUILD)/obj/tests/tools/proxy.o
BENCH_TOOLS = $(BUILD)/bench-loop $(BUILD)/bench-ssh $(BUILD)/proxy
MODEL_OBJ = $(patsubst %,$(BUILD)/obj/tests/model/%.o,model world acts judge)
POLICIES_OBJ = $(patsubst %,$(BUILD)/obj/tests/model/%.o,policies copies copies_judge asked)
FAULTS_OBJ = $(BUILD)/obj/tests/model/faults.o
HOOKS_OBJ = $(BUILD)/obj/tests/model/hooks.o $(BUILD)/obj/tests/model/tree.o
PLAY_OBJ = $(BUILD)/obj/tests/model/batches.o $(BUILD)/obj/tests/model/story.o
# What agents do under test by way of tests/model/hooks.c.
HOOKED = agent_serve clock_gettime fstat fstat64 fstatat fstatat64 fsync fdatasync syncfs rename renameat renameat2 \
    link linkat symlinkat unlink unlinkat mkdir mkdirat fchmod fchmodat futimens utimensat ftruncate ftruncate64 \
    write pwrite pwrite64 writev openat openat64
TEST_OBJ = $(MODEL_OBJ) $(PLAY_OBJ) $(POLICIES_OBJ) $(FAULTS_OBJ) $(HOOKS_OBJ) $(UNIT:$(BUILD)/%=$(BUILD)/obj/tests/%.o) $(FUZZ:$(BUILD)/%=$(BUILD)/obj/tests/%.o)

all: $(PROGRAM) ## build the program and the library (the default)

$(PROGRAM): $(BUILD)/obj/src/main.o $(LIB)
	$(LINK) -o $@ $^ $(LIBS)

$(LIB): $(LIB_OBJ)
	@mkdir -p $(@D)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/obj/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -c -o $@ $<

# Another compiler or other flags in the same folder: everything is built again.
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(CFLAGS_ALL)' | cmp -s - $@ || echo '$(CC) $(CFLAGS_ALL)' >$@

$(BUILD)/unit/%: $(BUILD)/obj/tests/unit/%.o $(LIB)
	@mkdir -p $(@D)
	$(LINK) -o $@ $< $(LIB) -lcmocka $(LIBS)

# Its probes run where the agent makes its store, and where it reads the greeting.
$(BUILD)/unit/test_confine: override LDFLAGS += -Wl,--wrap=store_dir_new,--wrap=wire_in_greeting

$(BUILD)/fuzz/%: $(BUILD)/obj/tests/fuzz/%.o $(REPLAY) $(LIB)
	@mkdir -p $(@D)
	$(LINK) $(FUZZ_LINK) -o $@ $< $(REPLAY) $(LIB) $(LIBS)

$(BUILD)/bench-loop: $(BUILD)/obj/contrib/bench-loop.o
	$(LINK) -o $@ $< -lxxhash

$(BUILD)/bench-ssh: $(BUILD)/obj/contrib/bench-ssh.o
	$(LINK) -o $@ $< -lssh2

$(BUILD)/proxy: $(BUILD)/obj/tests/tools/proxy.o
	$(LINK) -o $@ $<

$(BUILD)/model $(BUILD)/policies $(BUILD)/faults: override LDFLAGS += $(HOOKED:%=-Wl,--wrap=%)

$(BUILD)/model: $(MODEL_OBJ) $(PLAY_OBJ) $(HOOKS_OBJ) $(LIB)
	$(LINK) -o $@ $^ $(LIBS)

$(BUILD)/policies: $(POLICIES_OBJ) $(PLAY_OBJ) $(HOOKS_OBJ) $(LIB)
	$(LINK) -o $@ $^ $(LIBS)

$(BUILD)/faults: $(FAULTS_OBJ) $(HOOKS_OBJ) $(LIB)
	$(LINK) -o $@ $^ $(LIBS)

# Kept, so that a test is only linked again when the library changed.
.SECONDARY: $(TEST_OBJ) $(REPLAY) $(TOOL_OBJ)

everything: all $(UNIT) $(FUZZ) $(BENCH_TOOLS) $(BUILD)/model $(BUILD)/policies $(BUILD)/faults ## build all there is, tests included, and run nothing

deps: ## install what the build needs (Debian; else say what that is)
	@contrib/deps build

deps-test: ## install what the tests need
	@contrib/deps build test

deps-bench: ## install what the measurements need
	@contrib/deps build bench

demo: deps ## see it work on three directories
	@$(MAKE) --no-print-directory -s all
	@SOS_SYNC=$(abspath $(PROGRAM)) contrib/demo

check: deps-test ## all tests; the last line counts them
	@MAKE='$(MAKE_NAME)' BUILD='$(BUILD)' CC='$(CC)' OPT='$(OPT)' CFLAGS='$(CFLAGS)' LDFLAGS='$(LDFLAGS)' tests/run

check-asan: ## the same tests with the address and undefined-behaviour sanitizers
	@$(MAKE) --no-print-directory check BUILD=build-asan OPT='-O1 -g $(SANITIZE)'

check-faults: $(BUILD)/faults ## each call of an agent fails once, and is once the point of a kill (some minutes)
	@$(BUILD)/faults >$(BUILD)/faults.log 2>&1; status=$$?; grep -A 2 '^not ok' $(BUILD)/faults.log; \
	awk '/^ok.*# SKIP/ { s++; next } /^ok/ { p++ } /^not ok/ { f++ } /^1\.\./ { n = substr($$1, 4) } \
	    END { f += n - p - f - s; print p + 0 " passed, " f + 0 " failed, " s + 0 " skipped"; exit f > 0 || !p }' \
	    $(BUILD)/faults.log && [ $$status = 0 ]

check-model: $(BUILD)/model $(BUILD)/policies ## random worlds, WORLDS of them (10000) from SEED (1) on
	@$(BUILD)/model --seed $(or $(SEED),1) --worlds $(or $(WORLDS),10000)
	@$(BUILD)/policies --seed $(or $(SEED),1) --worlds $(or $(WORLDS),10000)

soak: all ## random edits and runs with kills over SSH, for SOAK_MINUTES (120)
	@SOS_SYNC=$(abspath $(PROGRAM)) tests/soak

unit: $(UNIT) ## only the unit tests
	@for t in $(UNIT); do $$t || exit 1; done

fuzz: deps-test ## run each fuzz target for FUZZ_SECONDS (60)
	@$(MAKE) --no-print-directory fuzz-run BUILD=build-fuzz CC=clang OPT='-O1 -g -fsanitize=fuzzer-no-link $(SANITIZE)' \
	    REPLAY= FUZZ_LINK=-fsanitize=fuzzer

fuzz-run: $(FUZZ)
	@failed=; for t in $(FUZZ); do \
	    name=$${t##*/fuzz_}; mkdir -p $(BUILD)/found/$$name; \
	    corpus=; if [ -d tests/corpus/$$name ]; then corpus=tests/corpus/$$name; fi; \
	    echo "== $$name"; \
	    $$t -max_total_time=$(FUZZ_SECONDS) -timeout=10 -print_final_stats=1 \
	        -artifact_prefix=$(BUILD)/crash-$$name- $(BUILD)/found/$$name $$corpus || failed="$$failed $$name"; done; \
	[ -z "$$failed" ] || { echo "failed:$$failed"; exit 1; }

lint: ## check the manual pages
	mandoc -T lint -W warning $(MAN)

bench: deps-bench ## measure against rsync, tar, find, cp, unison and rclone (takes its time)
	@$(MAKE) --no-print-directory -s all $(BENCH_TOOLS)
	@SOS_SYNC=$(abspath $(PROGRAM)) BENCH_TOOLS=$(abspath $(BUILD)) contrib/bench

BIN_DIR  = $(DESTDIR)$(PREFIX)/bin
LIB_DIR  = $(DESTDIR)$(PREFIX)/lib
INC_DIR  = $(DESTDIR)$(PREFIX)/include
MAN_DIR  = $(DESTDIR)$(PREFIX)/share/man
DOC_DIR  = $(DESTDIR)$(PREFIX)/share/doc/sos-sync
COMP_DIR = $(DESTDIR)$(PREFIX)/share/bash-completion/completions

install: all ## install below PREFIX (/usr/local); DESTDIR is put in front
	install -d $(BIN_DIR) $(LIB_DIR) $(INC_DIR) $(DOC_DIR) $(COMP_DIR)
	install -m 755 $(PROGRAM) $(BIN_DIR)/sos-sync
	install -m 644 $(LIB) $(LIB_DIR)/libsos-sync.a
	install -m 644 include/sos-sync.h $(INC_DIR)/sos-sync.h
	install -m 644 README.md LICENSE $(DOC_DIR)
	install -m 644 contrib/sos-sync.bash $(COMP_DIR)/sos-sync
	@set -e; for m in $(MAN); do \
	    install -d $(MAN_DIR)/man$${m##*.}; \
	    echo install -m 644 $$m $(MAN_DIR)/man$${m##*.}; \
	    install -m 644 $$m $(MAN_DIR)/man$${m##*.}; done

uninstall: ## remove what install put there
	rm -f $(BIN_DIR)/sos-sync $(LIB_DIR)/libsos-sync.a $(INC_DIR)/sos-sync.h $(COMP_DIR)/sos-sync
	rm -f $(foreach m,$(MAN),$(MAN_DIR)/man$(subst .,,$(suffix $(m)))/$(notdir $(m)))
	rm -rf $(DOC_DIR)

clean: ## remove all that was built
	rm -rf $(BUILD) build-asan build-clang build-fuzz

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

-include $(LIB_OBJ:.o=.d) $(BUILD)/obj/src/main.d $(TEST_OBJ:.o=.d) $(REPLAY:.o=.d) $(TOOL_OBJ:.o=.d)
.DELETE_ON_ERROR:
.PHONY: FORCE all everything deps deps-test deps-bench demo check check-asan check-faults check-model soak unit fuzz fuzz-run lint bench install \
    uninstall clean help
