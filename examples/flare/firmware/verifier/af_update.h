/* The decisions of an update, in the order of docs/spec/manifest.md 5. Nothing here writes. */
#ifndef AF_UPDATE_H
#define AF_UPDATE_H

#include "af_approval.h"
#include "af_messages.h"

/* How far the clock of who assigns may be ahead of that of who signs freshness answers (freshness.md 3). */
#define AF_CLOCKS_APART_MAX_S 86400U

/* What the device is and remembers (device-record.md 4). */
typedef struct {
    af_bytes hardware_class;
    af_bytes serial_number;
    uint32_t hardware_revision;
    uint32_t release_counter;
    uint32_t assignment_sequence;
    uint32_t freshness_sequence;
    uint32_t policy_version; /* the lowest that is still acceptable */
    uint32_t secure_version;
    uint32_t app_partition_bytes;
    uint32_t slot_partition_bytes;
    uint8_t running_app[AF_DIGEST_BYTES];  /* SHA-256 of the image that runs */
    uint8_t running_slot[AF_DIGEST_BYTES]; /* of its waveform slot's first manifest->slot_bytes */
    bool has_given_up;
    uint8_t given_up[AF_DIGEST_BYTES]; /* the manifest that was given up, if one was */
} af_device;

/* Step 3. AF_HALTED and AF_NOT_SELECTED end the session without an error. */
af_code af_judge_assignment(af_assignment *assignment, const af_trust *trust, const af_device *device,
                            af_bytes message);

/* Step 4. */
af_code af_judge_manifest(af_manifest *manifest, const af_trust *trust, const af_device *device,
                          const af_assignment *assignment, af_bytes message);

/* Step 5. After AF_UP_TO_DATE the device raises its counters where the manifest's are higher. A
 * service station may override AF_SAME_COUNTER and AF_GIVEN_UP, then it asks for AF_STEP_FIRST itself:
 * nobody overrides that one. */
af_code af_judge_content(const af_manifest *manifest, const af_device *device);

/* Step 5, after AF_STEP_FIRST. Called for assignment->steps from the last to the first, each with the
 * message that was fetched under it, until one is AF_OK: that one is installed, after af_judge_content.
 * AF_STEP_FIRST says that it is not this one; after the first step, that the one that is missing is not
 * assigned. All else refuses the update. `*lowest_counter` begins as that of the release assigned. */
af_code af_judge_step(af_manifest *step, uint32_t *lowest_counter, const af_trust *trust, const af_device *device,
                      const af_assignment *assignment, uint32_t release_counter, size_t index, af_bytes message);

/* Step 6, first half: `nonce` is what this device sent. */
af_code af_judge_freshness(af_freshness *freshness, const af_trust *trust, const af_device *device,
                           const af_assignment *assignment, const af_manifest *manifest,
                           const uint8_t nonce[AF_NONCE_BYTES], af_bytes message);

/* Step 6, second half: the waveform slot image in memory, before anything is written. */
af_code af_judge_slot(af_table *table, const af_trust *trust, const af_device *device, const af_manifest *manifest,
                      const af_freshness *freshness, const af_calibration *calibration, af_bytes image);

#endif
