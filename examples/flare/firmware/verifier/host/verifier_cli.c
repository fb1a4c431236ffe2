/* The verifier on a workstation: prints what a device would say of messages. */
#define _POSIX_C_SOURCE 200809L

#include <stdlib.h>
#include <string.h>

#include "commands.h"

/* Runs one line of words in place; what it prints is buffered so that a wrong case prints nothing. */
static int run_words(char **words, size_t count)
{
    static fields all;
    char *answer = NULL;
    size_t size = 0;
    for (size_t i = 1; i < count; i++) {
        fields_add(&all, words[i]);
    }
    FILE *out = open_memstream(&answer, &size);
    if (out == NULL) {
        return 2;
    }
    int exit_code = all.wrong != NULL ? 2 : run_command(words[0], &all, out);
    (void)fclose(out);
    if (exit_code == 2) {
        (void)printf("{\"error\":\"%s\"}\n", all.wrong != NULL ? all.wrong : "?");
    } else {
        (void)fputs(answer, stdout);
    }
    free(answer);
    fields_free(&all);
    return exit_code;
}

static int run_batch(void)
{
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    int worst = 0;
    while ((length = getline(&line, &capacity, stdin)) > 0) {
        char *words[FIELDS_MAX + 1];
        size_t count = 0;
        line[strcspn(line, "\n")] = '\0';
        for (char *word = strtok(line, " "); word != NULL && count <= FIELDS_MAX; word = strtok(NULL, " ")) {
            words[count++] = word;
        }
        if (count != 0) {
            int exit_code = run_words(words, count);
            worst = exit_code == 2 ? 2 : worst;
        }
        (void)fflush(stdout);
    }
    free(line);
    return worst;
}

int main(int count, char **arguments)
{
    if (count < 2 || strcmp(arguments[1], "--help") == 0) {
        (void)fputs(commands_help, count < 2 ? stderr : stdout);
        return count < 2 ? 2 : 0;
    }
    return strcmp(arguments[1], "batch") == 0 ? run_batch() : run_words(arguments + 1, (size_t)count - 1);
}
