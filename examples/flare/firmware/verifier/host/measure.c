/* What each decision takes: stack, painted before and looked at after; and what mbedTLS takes from
 * the heap, counted by wrapping malloc, calloc and free at the linker.
 *
 *   measure trust=@FILE assignment=@FILE manifest=@FILE freshness=@FILE slot=@FILE [fail=TURNS]
 *
 * With `fail` so many of the allocations, evenly spread, are refused, one in each turn: none of the
 * turns may end in AF_OK. */
#define _POSIX_C_SOURCE 200809L

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../af_update.h"
#include "fields.h"

enum { STACK_BYTES = 256 * 1024, PAINT = 0xa5, HEADER_BYTES = 16 };

static size_t held_bytes, peak_bytes, allocations, fail_at;

void *__real_malloc(size_t size);
void __real_free(void *at);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void __wrap_free(void *at);

void *__wrap_malloc(size_t size)
{
    allocations++;
    uint8_t *at = allocations == fail_at ? NULL : __real_malloc(size + HEADER_BYTES);
    if (at == NULL) {
        return NULL;
    }
    memcpy(at, &size, sizeof size);
    held_bytes += size;
    peak_bytes = held_bytes > peak_bytes ? held_bytes : peak_bytes;
    return at + HEADER_BYTES;
}

void *__wrap_calloc(size_t count, size_t size)
{
    void *at = __wrap_malloc(count * size);
    return at == NULL ? NULL : memset(at, 0, count * size);
}

void __wrap_free(void *at)
{
    size_t size;
    if (at != NULL) {
        memcpy(&size, (uint8_t *)at - HEADER_BYTES, sizeof size);
        held_bytes -= size;
        __real_free((uint8_t *)at - HEADER_BYTES);
    }
}

static struct {
    af_bytes trust, assignment, manifest, freshness, slot;
} given;

static af_trust trust;
static af_device device;
static af_assignment assignment;
static af_manifest manifest;
static af_freshness freshness;
static af_calibration calibration;
static af_table table;
static af_code answer;

static void *run_nothing(void *unused)
{
    return unused;
}

static void *run_trust(void *unused)
{
    answer = af_trust_read(&trust, given.trust);
    return unused;
}

static void *run_assignment(void *unused)
{
    answer = af_assignment_read(&assignment, &trust, given.assignment);
    return unused;
}

static void *run_manifest(void *unused)
{
    answer = af_judge_manifest(&manifest, &trust, &device, &assignment, given.manifest);
    return unused;
}

static void *run_freshness(void *unused)
{
    answer = af_freshness_read(&freshness, &trust, given.freshness);
    return unused;
}

static void *run_slot(void *unused)
{
    answer = af_judge_slot(&table, &trust, &device, &manifest, &freshness, &calibration, given.slot);
    return unused;
}

/* Runs on a painted stack of its own; how much of it was touched. */
static size_t run_painted(void *(*decide)(void *))
{
    static uint8_t stack[STACK_BYTES] __attribute__((aligned(64)));
    pthread_attr_t attributes;
    pthread_t thread;
    memset(stack, PAINT, sizeof stack);
    bool failed = pthread_attr_init(&attributes) != 0 ||
                  pthread_attr_setstack(&attributes, stack, sizeof stack) != 0 ||
                  pthread_create(&thread, &attributes, decide, NULL) != 0 || pthread_join(thread, NULL) != 0;
    if (failed) {
        (void)fputs("cannot run on a stack of its own\n", stderr);
        exit(2);
    }
    size_t untouched = 0;
    while (untouched < sizeof stack && stack[untouched] == PAINT) {
        untouched++;
    }
    return sizeof stack - untouched;
}

static void measure(const char *name, void *(*decide)(void *))
{
    size_t floor_bytes = run_painted(run_nothing);
    size_t before_bytes = held_bytes;
    peak_bytes = held_bytes;
    allocations = 0;
    size_t stack_bytes = run_painted(decide);
    (void)printf("{\"decision\":\"%s\",\"code\":\"%s\",\"stack_bytes\":%zu,\"heap_peak_bytes\":%zu,"
                 "\"heap_left_bytes\":%zu,\"allocations\":%zu}\n",
                 name, af_code_name(answer), stack_bytes > floor_bytes ? stack_bytes - floor_bytes : 0,
                 peak_bytes - before_bytes, held_bytes - before_bytes, allocations);
}

/* Refuses one allocation in each turn, and counts the turns that did not end in AF_NO_MEMORY. */
static void starve(const char *name, void *(*decide)(void *), size_t wanted)
{
    size_t accepted = 0;
    size_t other = 0;
    size_t left_bytes = held_bytes;
    size_t turns = 0;
    allocations = 0;
    (void)decide(NULL);
    size_t needed = allocations;
    size_t step = needed / wanted > 0 ? needed / wanted : 1;
    for (size_t i = 1; i <= needed; i += step) {
        allocations = 0;
        fail_at = i;
        (void)decide(NULL);
        accepted += answer == AF_OK ? 1 : 0;
        other += answer != AF_NO_MEMORY ? 1 : 0;
        turns++;
    }
    fail_at = 0;
    (void)decide(NULL);
    (void)printf("{\"starved\":\"%s\",\"turns\":%zu,\"accepted\":%zu,\"other\":%zu,\"heap_left_bytes\":%zu}\n", name,
                 turns, accepted, other, held_bytes - left_bytes);
}

/* What the manifest of a release with this slot image would say of it. */
static void describe_slot(void)
{
    af_slot parts;
    if (af_slot_read(&parts, given.slot) == AF_OK && af_table_read(&table, parts.table) == AF_OK) {
        (void)af_sha256_of(parts.table, manifest.table_digest);
        manifest.policy_version = table.policy_version;
        manifest.highest_current_na = table.peak_na;
    }
}

int main(int count, char **arguments)
{
    static fields all;
    for (int i = 1; i < count; i++) {
        fields_add(&all, arguments[i]);
    }
    given.trust = fields_bytes(&all, "trust");
    given.assignment = fields_bytes(&all, "assignment");
    given.manifest = fields_bytes(&all, "manifest");
    given.freshness = fields_bytes(&all, "freshness");
    given.slot = fields_bytes(&all, "slot");
    if (all.wrong != NULL) {
        (void)fprintf(stderr, "cannot read %s\n", all.wrong);
        return 2;
    }
    device.app_partition_bytes = UINT32_MAX;
    device.slot_partition_bytes = AF_SLOT_MAX;
    calibration.lowest_na = -100000000;
    calibration.highest_na = 100000000;
    measure("trust", run_trust);
    measure("assignment", run_assignment);
    (void)af_sha256_of(given.manifest, assignment.manifest_digest); /* whichever manifest is given */
    device.hardware_class = assignment.hardware_class;
    device.hardware_revision = 1;
    measure("manifest", run_manifest);
    measure("freshness", run_freshness);
    manifest.slot_bytes = (uint32_t)given.slot.size; /* and whichever slot image */
    (void)af_sha256_of(given.slot, manifest.slot_digest);
    describe_slot();
    measure("slot", run_slot);
    size_t turns = (size_t)fields_number(&all, "fail", 0);
    if (turns != 0) {
        starve("trust", run_trust, turns);
        starve("assignment", run_assignment, turns);
        (void)af_sha256_of(given.manifest, assignment.manifest_digest);
        starve("manifest", run_manifest, turns);
        starve("freshness", run_freshness, turns);
    }
    fields_free(&all);
    return 0;
}
