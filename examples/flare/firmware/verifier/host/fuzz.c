/* A deterministic mutation fuzzer: changes files of a corpus and gives them to every reader.
 *
 *   fuzz COUNT SEED SECONDS TRUST CORPUS...
 *
 * Signatures are taken for good (the linker wraps af_verify_signature), so that what lies behind
 * them is read, too; a table gets its trailing digest. The sanitizers are the judge. With
 * -DAF_LIBFUZZER there is no main, and libFuzzer's own entry gives the bytes: build with
 * clang -fsanitize=fuzzer,address,undefined. */
#define _POSIX_C_SOURCE 200809L

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../af_update.h"
#include "fields.h"

enum { CASE_MAX = 80000, HEAD_BYTES = 8 };

static af_trust trust;
static size_t accepted;

af_code __wrap_af_verify_signature(af_algorithm algorithm, af_bytes der, const af_pieces *message,
                                   af_bytes signature);

af_code __wrap_af_verify_signature(af_algorithm algorithm, af_bytes der, const af_pieces *message,
                                   af_bytes signature)
{
    (void)der;
    (void)message;
    return signature.size == af_signature_bytes(algorithm) ? AF_OK : AF_SIGNATURE;
}

static void count(af_code code)
{
    accepted += code == AF_OK ? 1 : 0;
}

static void read_as_table(const uint8_t *at, size_t size)
{
    af_table table;
    uint8_t *copy = malloc(size == 0 ? 1 : size);
    if (copy == NULL) {
        return;
    }
    memcpy(copy, at, size);
    if (size > AF_DIGEST_BYTES + HEAD_BYTES + 4) {
        af_bytes content = {copy, size - AF_DIGEST_BYTES};
        for (size_t i = 0; i < 4; i++) {
            copy[8 + i] = (uint8_t)(size >> (8 * i));
        }
        (void)af_sha256_of(content, copy + content.size);
    }
    af_bytes bytes = {copy, size};
    count(af_table_read(&table, bytes));
    free(copy);
}

/* Every reader over the same bytes; each refuses what is not its own within a few of them. */
static void read_as_everything(const uint8_t *at, size_t size)
{
    static af_trust next;
    static af_manifest manifest;
    static af_assignment assignment;
    static af_freshness freshness;
    af_approval approval;
    af_calibration calibration;
    af_slot slot;
    af_table table;
    uint8_t request[AF_REQUEST_MAX];
    af_bytes bytes = {at, size};
    af_bytes serial = {(const uint8_t *)"FL26A000017", 11};
    count(af_trust_read(&next, bytes));
    count(af_trust_accept(&next, &trust, bytes));
    count(af_manifest_read(&manifest, &trust, bytes));
    if (af_assignment_read(&assignment, &trust, bytes) == AF_OK) {
        count(af_assignment_selects(&assignment, serial));
    }
    if (af_freshness_read(&freshness, &trust, bytes) == AF_OK) {
        count(af_freshness_request(request, freshness.nonce, freshness.hardware_class) != 0 ? AF_OK : AF_FIELDS);
    }
    count(af_approval_read(&approval, &trust, bytes));
    count(af_calibration_read(&calibration, bytes));
    read_as_table(at, size);
    if (af_slot_read(&slot, bytes) == AF_OK) {
        count(af_table_accept(&table, &approval, &trust, &slot, trust.product));
    }
}

#ifdef AF_LIBFUZZER
int LLVMFuzzerTestOneInput(const uint8_t *at, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *at, size_t size)
{
    read_as_everything(at, size);
    return 0;
}
#else

static uint64_t state;

/* xorshift64*: the same cases on every machine. */
static uint32_t draw(uint32_t below)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)((state * 2685821657736338717U) >> 33) % below;
}

static size_t mutate(uint8_t *bytes, size_t size, af_bytes other)
{
    static const uint8_t telling[] = {0x00, 0x01, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1f, 0x40, 0x58, 0x5f,
                                      0x7f, 0x80, 0x84, 0x9f, 0xa0, 0xbf, 0xd2, 0xd8, 0xf4, 0xf7, 0xff};
    size_t at = size == 0 ? 0 : draw((uint32_t)size);
    size_t span = size == 0 ? 0 : 1 + draw((uint32_t)(size - at < 48 ? size - at : 48));
    switch (draw(7)) {
    case 0:
        if (size != 0) {
            bytes[at] ^= (uint8_t)(1U << draw(8));
        }
        return size;
    case 1:
        if (size != 0) {
            bytes[at] = telling[draw(sizeof telling)];
        }
        return size;
    case 2:
        if (size != 0) {
            bytes[at] = (uint8_t)draw(256);
        }
        return size;
    case 3: /* cut a piece out */
        memmove(bytes + at, bytes + at + span, size - at - span);
        return size - span;
    case 4: /* say a piece twice */
        if (size + span > CASE_MAX) {
            return size;
        }
        memmove(bytes + at + span, bytes + at, size - at);
        return size + span;
    case 5: /* end early */
        return at;
    default: /* a piece of another file */
        if (other.size == 0 || size == 0) {
            return size;
        }
        span = span < other.size ? span : other.size;
        memcpy(bytes + at, other.at + draw((uint32_t)(other.size - span + 1)), span);
        return size;
    }
}

static void run_case(fields *corpus, size_t files)
{
    static uint8_t bytes[CASE_MAX];
    char name[16];
    (void)snprintf(name, sizeof name, "%u", draw((uint32_t)files));
    af_bytes original = fields_bytes(corpus, name);
    (void)snprintf(name, sizeof name, "%u", draw((uint32_t)files));
    af_bytes other = fields_bytes(corpus, name);
    size_t size = original.size < CASE_MAX ? original.size : CASE_MAX;
    memcpy(bytes, original.at, size);
    for (uint32_t changes = draw(5); changes > 0; changes--) {
        size = mutate(bytes, size, other);
    }
    uint8_t *exact = malloc(size == 0 ? 1 : size);
    if (exact != NULL) {
        memcpy(exact, bytes, size);
        read_as_everything(exact, size);
        free(exact);
    }
}

int main(int argument_count, char **arguments)
{
    static fields corpus;
    static char words[FIELDS_MAX][512];
    if (argument_count < 6 || argument_count - 5 > FIELDS_MAX - 1) {
        (void)fputs("usage: fuzz COUNT SEED SECONDS TRUST CORPUS...\n", stderr);
        return 2;
    }
    unsigned long long wanted = strtoull(arguments[1], NULL, 10);
    state = strtoull(arguments[2], NULL, 10) * 2 + 1;
    time_t end = time(NULL) + (time_t)strtoull(arguments[3], NULL, 10);
    size_t files = (size_t)argument_count - 4;
    for (size_t i = 0; i < files; i++) { /* the trust record is file 0 of the corpus, too */
        (void)snprintf(words[i], sizeof words[i], "%zu=@%s", i, arguments[i + 4]);
        fields_add(&corpus, words[i]);
    }
    if (af_trust_read(&trust, fields_bytes(&corpus, "0")) != AF_OK || corpus.wrong != NULL) {
        (void)fputs("the trust record is refused, or a file cannot be read\n", stderr);
        return 2;
    }
    unsigned long long done = 0;
    while (done < wanted && (done % 256 != 0 || time(NULL) < end)) {
        run_case(&corpus, files);
        done++;
    }
    (void)printf("{\"cases\":%llu,\"accepted\":%zu,\"seed\":%s}\n", done, accepted, arguments[2]);
    fields_free(&corpus);
    return 0;
}
#endif
