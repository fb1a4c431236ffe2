#include "answers.h"

int print_code(FILE *out, const char *step, af_code code)
{
    (void)fprintf(out, "{\"step\":\"%s\",\"code\":\"%s\"", step, af_code_name(code));
    return code <= AF_UP_TO_DATE ? 0 : 3;
}

void print_hexadecimal(FILE *out, const char *name, const uint8_t *at, size_t size)
{
    (void)fprintf(out, ",\"%s\":\"", name);
    for (size_t i = 0; i < size; i++) {
        (void)fprintf(out, "%02x", (unsigned)at[i]);
    }
    (void)fputc('"', out);
}

void print_number(FILE *out, const char *name, long long number)
{
    (void)fprintf(out, ",\"%s\":%lld", name, number);
}

af_code read_trust(af_trust *trust, fields *words)
{
    return af_trust_read(trust, fields_bytes(words, "trust"));
}
