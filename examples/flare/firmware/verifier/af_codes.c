#include "af_codes.h"

#define AF_CODE_NAME(code, name) name,
static const char *const names[] = {AF_CODES(AF_CODE_NAME)};
#undef AF_CODE_NAME

const char *af_code_name(af_code code)
{
    return (unsigned)code < (unsigned)AF_CODE_COUNT ? names[code] : "?";
}
