#include "af_update.h"

#include <string.h>

static bool is_digest(const uint8_t left[AF_DIGEST_BYTES], const uint8_t right[AF_DIGEST_BYTES])
{
    return memcmp(left, right, AF_DIGEST_BYTES) == 0;
}

af_code af_judge_assignment(af_assignment *assignment, const af_trust *trust, const af_device *device,
                            af_bytes message)
{
    af_code code = af_assignment_read(assignment, trust, message);
    if (code != AF_OK) {
        return code;
    }
    if (assignment->sequence < device->assignment_sequence) {
        return AF_ASSIGNMENT_SEQUENCE;
    }
    if (!af_equal(assignment->hardware_class, device->hardware_class)) {
        return AF_HARDWARE_CLASS;
    }
    return af_assignment_selects(assignment, device->serial_number);
}

/* That a manifest is the one that the assignment names by this digest, and verifies. */
static af_code read_named(af_manifest *manifest, const af_trust *trust, const uint8_t *name, af_bytes message)
{
    uint8_t digest[AF_DIGEST_BYTES];
    if (message.size == 0 || message.size > AF_MESSAGE_MAX) {
        return AF_LENGTH;
    }
    if (!af_sha256_of(message, digest)) {
        return AF_NO_MEMORY;
    }
    return is_digest(digest, name) ? af_manifest_read(manifest, trust, message) : AF_MANIFEST_DIGEST;
}

/* That a release is for this device, and takes nothing of it back. */
static af_code judge_fit(const af_manifest *manifest, const af_device *device)
{
    if (!af_equal(manifest->hardware_class, device->hardware_class)) {
        return AF_HARDWARE_CLASS;
    }
    if (device->hardware_revision < manifest->lowest_revision ||
        device->hardware_revision > manifest->highest_revision) {
        return AF_HARDWARE_REVISION;
    }
    if (manifest->release_counter < device->release_counter) {
        return AF_RELEASE_COUNTER;
    }
    if (manifest->secure_version < device->secure_version) {
        return AF_SECURE_VERSION;
    }
    if (manifest->policy_version < device->policy_version) {
        return AF_POLICY_VERSION;
    }
    if (manifest->app_bytes > device->app_partition_bytes) {
        return AF_APP_TOO_LARGE;
    }
    return manifest->slot_bytes <= device->slot_partition_bytes ? AF_OK : AF_SLOT_TOO_LARGE;
}

af_code af_judge_manifest(af_manifest *manifest, const af_trust *trust, const af_device *device,
                          const af_assignment *assignment, af_bytes message)
{
    af_code code = read_named(manifest, trust, assignment->manifest_digest, message);
    return code == AF_OK ? judge_fit(manifest, device) : code;
}

af_code af_judge_step(af_manifest *step, uint32_t *lowest_counter, const af_trust *trust, const af_device *device,
                      const af_assignment *assignment, uint32_t release_counter, size_t index, af_bytes message)
{
    if (index >= assignment->step_count) {
        return AF_STEP_FIRST;
    }
    af_code code = read_named(step, trust, assignment->steps[index].at, message);
    if (code != AF_OK) {
        return code;
    }
    /* It has to be newer than what runs, to lead on, and to be for this device. */
    bool leads_on = step->release_counter > device->release_counter && step->release_counter >= *lowest_counter &&
                    step->release_counter < release_counter;
    if (!leads_on || judge_fit(step, device) != AF_OK) {
        return AF_STEP_FIRST;
    }
    if (step->lowest_counter < *lowest_counter) {
        *lowest_counter = step->lowest_counter;
    }
    return step->lowest_counter <= device->release_counter ? AF_OK : AF_STEP_FIRST;
}

af_code af_judge_content(const af_manifest *manifest, const af_device *device)
{
    if (is_digest(manifest->app_digest, device->running_app) &&
        is_digest(manifest->slot_digest, device->running_slot)) {
        return AF_UP_TO_DATE;
    }
    if (manifest->release_counter == device->release_counter) {
        return AF_SAME_COUNTER;
    }
    if (device->has_given_up && is_digest(manifest->digest, device->given_up)) {
        return AF_GIVEN_UP;
    }
    return device->release_counter < manifest->lowest_counter ? AF_STEP_FIRST : AF_OK;
}

af_code af_judge_freshness(af_freshness *freshness, const af_trust *trust, const af_device *device,
                           const af_assignment *assignment, const af_manifest *manifest,
                           const uint8_t nonce[AF_NONCE_BYTES], af_bytes message)
{
    af_code code = af_freshness_read(freshness, trust, message);
    if (code != AF_OK) {
        return code;
    }
    if (memcmp(freshness->nonce, nonce, AF_NONCE_BYTES) != 0) {
        return AF_NONCE;
    }
    if (!af_equal(freshness->hardware_class, device->hardware_class)) {
        return AF_HARDWARE_CLASS;
    }
    if (freshness->sequence < device->freshness_sequence) {
        return AF_FRESHNESS_SEQUENCE;
    }
    if (freshness->assignment_sequence != assignment->sequence) {
        return AF_NOT_IN_FORCE;
    }
    if (freshness->time_s + AF_CLOCKS_APART_MAX_S < assignment->issued_s) {
        return AF_TIME_BEFORE_ISSUE;
    }
    if (freshness->time_s >= assignment->expires_s) {
        return AF_ASSIGNMENT_EXPIRED;
    }
    return freshness->time_s < manifest->expires_s ? AF_OK : AF_MANIFEST_EXPIRED;
}

af_code af_judge_slot(af_table *table, const af_trust *trust, const af_device *device, const af_manifest *manifest,
                      const af_freshness *freshness, const af_calibration *calibration, af_bytes image)
{
    uint8_t digest[AF_DIGEST_BYTES];
    af_slot slot;
    af_approval approval;
    if (!af_sha256_of(image, digest)) {
        return AF_NO_MEMORY;
    }
    if (image.size != manifest->slot_bytes || !is_digest(digest, manifest->slot_digest)) {
        return AF_SLOT_DIGEST;
    }
    af_code code = af_slot_read(&slot, image);
    if (code == AF_OK) {
        code = af_table_accept(table, &approval, trust, &slot, device->hardware_class);
    }
    if (code != AF_OK) {
        return code;
    }
    if (approval.waivers_expire_s != 0 && freshness->time_s >= approval.waivers_expire_s) {
        return AF_WAIVER_EXPIRED;
    }
    /* So the table's policy version is the manifest's, which is not below what the device has. */
    if (!is_digest(approval.table_digest, manifest->table_digest) ||
        approval.policy_version != manifest->policy_version || table->peak_na != manifest->highest_current_na) {
        return AF_TABLE_FACTS;
    }
    /* Both polarities, whatever the mode does: a peak is below 2^31, so it can be negated. */
    int32_t peak_na = (int32_t)table->peak_na;
    return -peak_na >= calibration->lowest_na && peak_na <= calibration->highest_na ? AF_OK : AF_SPAN;
}
