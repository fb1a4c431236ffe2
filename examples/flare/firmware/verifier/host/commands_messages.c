#include <string.h>

#include "../af_ed25519.h"
#include "../af_trust_rules.h"
#include "answers.h"

static const af_bytes nothing = {NULL, 0};

int run_trust(fields *words, FILE *out)
{
    static af_trust next;
    static af_trust current;
    af_code code;
    af_bytes message = fields_bytes(words, "message");
    if (fields_has(words, "current")) {
        code = af_trust_read(&current, fields_bytes(words, "current"));
        if (code == AF_OK) {
            code = af_trust_accept(&next, &current, message);
        }
    } else {
        code = af_trust_read(&next, message);
    }
    int exit_code = print_code(out, "trust", code);
    if (code == AF_OK) {
        print_number(out, "version", next.version);
        print_number(out, "minimum_policy_version", next.minimum_policy_version);
        print_number(out, "keys", (long long)next.key_count);
    }
    return exit_code;
}

int run_message(fields *words, FILE *out)
{
    static af_trust trust;
    char content_type[128];
    af_bytes payload = nothing;
    af_bytes type = fields_text(words, "type");
    af_role role = af_role_named(fields_text(words, "role"));
    if (role == AF_ROLE_COUNT || type.size >= sizeof content_type) {
        words->wrong = "role or type";
        return 2;
    }
    memcpy(content_type, type.at, type.size);
    content_type[type.size] = '\0';
    af_code code = read_trust(&trust, words);
    if (code != AF_OK) {
        return print_code(out, "trust", code);
    }
    code = af_trust_verify(&payload, &trust, role, fields_bytes(words, "message"),
                           (size_t)fields_number(words, "most", 65536), content_type, nothing);
    int exit_code = print_code(out, "message", code);
    print_hexadecimal(out, "payload", payload.at, payload.size);
    return exit_code;
}

/* The length of a DER SEQUENCE with its head; 0 if it is none. */
static size_t der_size(af_bytes der)
{
    if (der.size < 4 || der.at[0] != 0x30) {
        return 0;
    }
    size_t size = der.at[1] < 0x80 ? (size_t)der.at[1] + 2 : (size_t)(der.at[2] << 8 | der.at[3]) + 4;
    return size <= der.size ? size : 0;
}

/* Keys without a record: they are made to hold one role of an empty one. */
int run_cose(fields *words, FILE *out)
{
    static af_trust trust;
    static char type[128];
    af_bytes payload = nothing;
    af_bytes keys = fields_bytes(words, "keys");
    af_bytes stated = fields_text(words, "type");
    memset(&trust, 0, sizeof trust);
    trust.threshold[AF_RELEASE] = (uint8_t)fields_number(words, "threshold", 1);
    for (size_t size = der_size(keys); size != 0 && trust.key_count < 8; size = der_size(keys)) {
        af_key_entry *key = &trust.keys[trust.key_count++];
        key->der.at = keys.at;
        key->der.size = size;
        key->role = AF_RELEASE;
        key->algorithm = (uint8_t)af_key_algorithm(key->der);
        if (key->algorithm == AF_NO_ALGORITHM || !af_sha256_of(key->der, key->id)) {
            return print_code(out, "keys", AF_RECORD_KEYS);
        }
        keys.at += size;
        keys.size -= size;
    }
    if (keys.size != 0 || stated.size >= sizeof type) {
        words->wrong = "keys or type";
        return 2;
    }
    memcpy(type, stated.at, stated.size);
    type[stated.size] = '\0';
    af_bytes external = fields_has(words, "external") ? fields_bytes(words, "external") : nothing;
    af_code code = af_trust_verify(&payload, &trust, AF_RELEASE, fields_bytes(words, "message"),
                                   (size_t)fields_number(words, "most", 65536), type, external);
    int exit_code = print_code(out, "message", code);
    print_hexadecimal(out, "payload", payload.at, payload.size);
    return exit_code;
}

int run_manifest(fields *words, FILE *out)
{
    static af_trust trust;
    static af_manifest manifest;
    af_code code = read_trust(&trust, words);
    if (code != AF_OK) {
        return print_code(out, "trust", code);
    }
    code = af_manifest_read(&manifest, &trust, fields_bytes(words, "message"));
    int exit_code = print_code(out, "manifest", code);
    if (code == AF_OK) {
        print_number(out, "release_counter", manifest.release_counter);
        print_number(out, "app_bytes", manifest.app_bytes);
        print_hexadecimal(out, "app_digest", manifest.app_digest, AF_DIGEST_BYTES);
        print_number(out, "secure_version", manifest.secure_version);
        print_number(out, "slot_bytes", manifest.slot_bytes);
        print_hexadecimal(out, "table_digest", manifest.table_digest, AF_DIGEST_BYTES);
        print_number(out, "highest_current_na", manifest.highest_current_na);
        print_number(out, "expires_s", (long long)manifest.expires_s);
        print_number(out, "lowest_counter", manifest.lowest_counter);
        print_number(out, "support_ends_s", (long long)manifest.support_ends_s);
        print_number(out, "deltas", (long long)manifest.delta_count);
        print_hexadecimal(out, "digest", manifest.digest, AF_DIGEST_BYTES);
    }
    return exit_code;
}

static int answer_assignment(fields *words, FILE *out, bool is_selecting)
{
    static af_trust trust;
    static af_assignment assignment;
    af_code code = read_trust(&trust, words);
    if (code != AF_OK) {
        return print_code(out, "trust", code);
    }
    code = af_assignment_read(&assignment, &trust, fields_bytes(words, "message"));
    if (code == AF_OK && is_selecting) {
        code = af_assignment_selects(&assignment, fields_text(words, "serial"));
    }
    int exit_code = print_code(out, "assignment", code);
    if (code == AF_OK) {
        print_number(out, "sequence", assignment.sequence);
        print_hexadecimal(out, "manifest_digest", assignment.manifest_digest, AF_DIGEST_BYTES);
        print_number(out, "share_ppm", assignment.share_ppm);
        print_number(out, "pinned", (long long)assignment.pinned_count);
        print_number(out, "halted", assignment.is_halted);
        print_number(out, "expires_s", (long long)assignment.expires_s);
        print_number(out, "steps", (long long)assignment.step_count);
    }
    return exit_code;
}

int run_assignment(fields *words, FILE *out)
{
    return answer_assignment(words, out, false);
}

int run_select(fields *words, FILE *out)
{
    return answer_assignment(words, out, true);
}

int run_freshness(fields *words, FILE *out)
{
    static af_trust trust;
    static af_freshness freshness;
    af_code code = read_trust(&trust, words);
    if (code != AF_OK) {
        return print_code(out, "trust", code);
    }
    code = af_freshness_read(&freshness, &trust, fields_bytes(words, "message"));
    int exit_code = print_code(out, "freshness", code);
    if (code == AF_OK) {
        print_hexadecimal(out, "nonce", freshness.nonce, AF_NONCE_BYTES);
        print_number(out, "sequence", freshness.sequence);
        print_number(out, "time_s", (long long)freshness.time_s);
        print_number(out, "assignment_sequence", freshness.assignment_sequence);
    }
    return exit_code;
}

int run_request(fields *words, FILE *out)
{
    uint8_t nonce[AF_NONCE_BYTES];
    uint8_t request[AF_REQUEST_MAX];
    fields_copy(words, "nonce", nonce, sizeof nonce);
    size_t size = af_freshness_request(request, nonce, fields_text(words, "class"));
    int exit_code = print_code(out, "request", size == 0 ? AF_FIELDS : AF_OK);
    print_hexadecimal(out, "request", request, size);
    return exit_code;
}

int run_ed25519(fields *words, FILE *out)
{
#if AF_WITH_EDDSA
    uint8_t key[32];
    uint8_t signature[64];
    af_pieces message = {.piece = {fields_bytes(words, "message")}, .count = 1};
    fields_copy(words, "key", key, sizeof key);
    fields_copy(words, "signature", signature, sizeof signature);
    return print_code(out, "ed25519", af_ed25519_verify(key, &message, signature) ? AF_OK : AF_SIGNATURE);
#else
    (void)words;
    return print_code(out, "ed25519", AF_ALGORITHM_NOT_BUILT);
#endif
}
