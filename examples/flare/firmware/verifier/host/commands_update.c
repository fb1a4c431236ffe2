#include <string.h>

#include "answers.h"

static void print_table(FILE *out, const af_table *table)
{
    print_number(out, "policy_version", table->policy_version);
    print_number(out, "peak_na", table->peak_na);
}

int run_slot(fields *words, FILE *out)
{
    af_slot slot;
    af_code code = af_slot_read(&slot, fields_bytes(words, "image"));
    int exit_code = print_code(out, "slot", code);
    if (code == AF_OK) {
        print_number(out, "table_bytes", (long long)slot.table.size);
        print_number(out, "approval_bytes", (long long)slot.approval.size);
    }
    return exit_code;
}

int run_table(fields *words, FILE *out)
{
    af_table table;
    af_code code = af_table_read(&table, fields_bytes(words, "bytes"));
    int exit_code = print_code(out, "table", code);
    if (code == AF_OK) {
        print_table(out, &table);
    }
    return exit_code;
}

int run_approval(fields *words, FILE *out)
{
    static af_trust trust;
    af_approval approval;
    af_code code = read_trust(&trust, words);
    if (code != AF_OK) {
        return print_code(out, "trust", code);
    }
    code = af_approval_read(&approval, &trust, fields_bytes(words, "message"));
    int exit_code = print_code(out, "approval", code);
    if (code == AF_OK) {
        print_number(out, "policy_version", approval.policy_version);
        print_number(out, "waivers_expire_s", (long long)approval.waivers_expire_s);
    }
    return exit_code;
}

int run_accept(fields *words, FILE *out)
{
    static af_trust trust;
    af_slot slot;
    af_table table;
    af_approval approval;
    af_code code = read_trust(&trust, words);
    if (code != AF_OK) {
        return print_code(out, "trust", code);
    }
    code = af_slot_read(&slot, fields_bytes(words, "image"));
    if (code == AF_OK) {
        code = af_table_accept(&table, &approval, &trust, &slot, fields_text(words, "class"));
    }
    int exit_code = print_code(out, "accept", code);
    if (code == AF_OK) {
        print_table(out, &table);
    }
    return exit_code;
}

int run_calibration(fields *words, FILE *out)
{
    af_calibration calibration;
    af_code code = af_calibration_read(&calibration, fields_bytes(words, "payload"));
    int exit_code = print_code(out, "calibration", code);
    if (code == AF_OK) {
        print_number(out, "lowest_na", calibration.lowest_na);
        print_number(out, "highest_na", calibration.highest_na);
    }
    return exit_code;
}

static void read_device(af_device *device, fields *words)
{
    memset(device, 0, sizeof *device);
    device->hardware_class = fields_text(words, "class");
    device->serial_number = fields_text(words, "serial");
    device->hardware_revision = (uint32_t)fields_number(words, "revision", 0);
    device->release_counter = (uint32_t)fields_number(words, "counter", 0);
    device->assignment_sequence = (uint32_t)fields_number(words, "assignment-sequence", 0);
    device->freshness_sequence = (uint32_t)fields_number(words, "freshness-sequence", 0);
    device->policy_version = (uint32_t)fields_number(words, "policy-version", 0);
    device->secure_version = (uint32_t)fields_number(words, "secure-version", 0);
    device->app_partition_bytes = (uint32_t)fields_number(words, "app-partition", 16777216);
    device->slot_partition_bytes = (uint32_t)fields_number(words, "slot-partition", AF_SLOT_MAX);
    device->has_given_up = fields_has(words, "given-up");
    if (device->has_given_up) {
        fields_copy(words, "given-up", device->given_up, AF_DIGEST_BYTES);
    }
    if (fields_has(words, "running-app")) {
        fields_copy(words, "running-app", device->running_app, AF_DIGEST_BYTES);
    }
    if (fields_has(words, "running-slot")) {
        fields_copy(words, "running-slot", device->running_slot, AF_DIGEST_BYTES);
    }
}

/* Puts the step that is taken first in the manifest's place, by the words step-1, step-2, … in the order in
 * which they were fetched: from the last that the assignment names. */
static af_code choose_step(af_manifest *manifest, const af_trust *trust, af_device *device,
                           const af_assignment *assignment, fields *words)
{
    static const char *const names[AF_STEPS_MAX] = {"step-1", "step-2", "step-3", "step-4",
                                                    "step-5", "step-6", "step-7", "step-8"};
    static af_manifest step;
    uint32_t lowest_counter = manifest->lowest_counter;
    for (size_t n = 0; n < assignment->step_count && fields_has(words, names[n]); n++) {
        af_code code =
            af_judge_step(&step, &lowest_counter, trust, device, assignment, manifest->release_counter,
                          assignment->step_count - 1 - n, fields_bytes(words, names[n]));
        if (code == AF_OK) {
            *manifest = step;
            if (fields_has(words, "step-running-slot")) {
                fields_copy(words, "step-running-slot", device->running_slot, AF_DIGEST_BYTES);
            }
            return af_judge_content(manifest, device);
        }
        if (code != AF_STEP_FIRST) {
            return code;
        }
    }
    return AF_STEP_FIRST;
}

/* The whole of manifest.md 5, as far as the case has messages. */
int run_update(fields *words, FILE *out)
{
    static af_trust trust;
    static af_device device;
    static af_assignment assignment;
    static af_manifest manifest;
    static af_freshness freshness;
    uint8_t nonce[AF_NONCE_BYTES];
    read_device(&device, words);
    af_code code = read_trust(&trust, words);
    if (code != AF_OK) {
        return print_code(out, "trust", code);
    }
    code = af_judge_assignment(&assignment, &trust, &device, fields_bytes(words, "assignment"));
    if (code != AF_OK || !fields_has(words, "manifest")) {
        return print_code(out, "assignment", code);
    }
    code = af_judge_manifest(&manifest, &trust, &device, &assignment, fields_bytes(words, "manifest"));
    if (code != AF_OK) {
        return print_code(out, "manifest", code);
    }
    code = af_judge_content(&manifest, &device);
    if (code == AF_STEP_FIRST) {
        code = choose_step(&manifest, &trust, &device, &assignment, words);
    }
    if (code != AF_OK || !fields_has(words, "freshness")) {
        return print_code(out, "content", code);
    }
    fields_copy(words, "nonce", nonce, sizeof nonce);
    code = af_judge_freshness(&freshness, &trust, &device, &assignment, &manifest, nonce,
                              fields_bytes(words, "freshness"));
    if (code != AF_OK || !fields_has(words, "slot")) {
        return print_code(out, "freshness", code);
    }
    af_table table;
    af_calibration calibration;
    code = af_calibration_read(&calibration, fields_bytes(words, "calibration"));
    if (code == AF_OK) {
        code = af_judge_slot(&table, &trust, &device, &manifest, &freshness, &calibration,
                             fields_bytes(words, "slot"));
    }
    return print_code(out, "slot", code);
}
