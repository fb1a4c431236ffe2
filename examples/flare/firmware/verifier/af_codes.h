/* What the verifier answers: one code for each reason, in the order in which reasons are looked for.
 *
 * AF_OK alone means "go on". AF_NOT_SELECTED, AF_HALTED and AF_UP_TO_DATE end a session without an
 * error; everything else is a refusal, after which nothing of the message may be used. */
#ifndef AF_CODES_H
#define AF_CODES_H

#define AF_CODES(X) \
    X(AF_OK, "ok") \
    /* no refusals: there is nothing to do */ \
    X(AF_NOT_SELECTED, "not-selected") \
    X(AF_HALTED, "halted") \
    X(AF_UP_TO_DATE, "up-to-date") \
    /* the message: cose.md 4.3 and 5.1, trust.md 5 */ \
    X(AF_LENGTH, "length") \
    X(AF_SHAPE, "shape") \
    X(AF_SIGNED_TWICE, "signed-twice") \
    X(AF_CONTENT_TYPE, "content-type") \
    X(AF_ROLE_EMPTY, "role-empty") \
    X(AF_NO_KEY_OF_ROLE, "no-key-of-role") \
    X(AF_REVOKED_KEY, "revoked-key") \
    X(AF_ALGORITHM, "algorithm") \
    X(AF_ALGORITHM_NOT_BUILT, "algorithm-not-built") \
    X(AF_NO_MEMORY, "no-memory") \
    X(AF_SIGNATURE, "signature") \
    X(AF_TOO_FEW_KEYS, "too-few-keys") \
    /* the payload: manifest.md 2 */ \
    X(AF_FORMAT_VERSION, "format-version") \
    X(AF_FIELDS, "fields") \
    X(AF_PRODUCT, "product") \
    /* the trust record: trust.md 2 to 4 */ \
    X(AF_RECORD_ROLES, "record-roles") \
    X(AF_RECORD_KEYS, "record-keys") \
    X(AF_RECORD_ALGORITHMS, "record-algorithms") \
    X(AF_RECORD_VERSION, "record-version") \
    X(AF_RECORD_POLICY, "record-policy") \
    X(AF_RECORD_REVOCATIONS, "record-revocations") \
    /* the update: manifest.md 5 */ \
    X(AF_ASSIGNMENT_SEQUENCE, "assignment-sequence") \
    X(AF_HARDWARE_CLASS, "hardware-class") \
    X(AF_MANIFEST_DIGEST, "manifest-digest") \
    X(AF_HARDWARE_REVISION, "hardware-revision") \
    X(AF_RELEASE_COUNTER, "release-counter") \
    X(AF_SECURE_VERSION, "secure-version") \
    X(AF_POLICY_VERSION, "policy-version") \
    X(AF_APP_TOO_LARGE, "app-too-large") \
    X(AF_SLOT_TOO_LARGE, "slot-too-large") \
    X(AF_SAME_COUNTER, "same-counter") \
    X(AF_GIVEN_UP, "given-up") \
    X(AF_STEP_FIRST, "step-first") \
    X(AF_NONCE, "nonce") \
    X(AF_FRESHNESS_SEQUENCE, "freshness-sequence") \
    X(AF_NOT_IN_FORCE, "not-in-force") \
    X(AF_TIME_BEFORE_ISSUE, "time-before-issue") \
    X(AF_ASSIGNMENT_EXPIRED, "assignment-expired") \
    X(AF_MANIFEST_EXPIRED, "manifest-expired") \
    /* the waveform slot image: waveform-table.md 6 and 7, policy-and-approval.md 6 */ \
    X(AF_SLOT_DIGEST, "slot-digest") \
    X(AF_SLOT, "slot") \
    X(AF_TABLE, "table") \
    X(AF_TABLE_DIGEST, "table-digest") \
    X(AF_APPROVAL_OTHER, "approval-other") \
    X(AF_WAIVER_EXPIRED, "waiver-expired") \
    X(AF_TABLE_FACTS, "table-facts") \
    X(AF_CALIBRATION, "calibration") \
    X(AF_SPAN, "span")

#define AF_CODE_VALUE(code, name) code,
typedef enum { AF_CODES(AF_CODE_VALUE) AF_CODE_COUNT } af_code;
#undef AF_CODE_VALUE

/* The code's name for logs and reports; "?" for a number that is no code. */
const char *af_code_name(af_code code);

#endif
