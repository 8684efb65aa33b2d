/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Runs a fuzz target without libFuzzer, see fuzz.h
 *
 * usage: fuzz-NAME [FILE...]
 *
 * Before a mutation runs it is written to the file that $FUZZ_LAST names, if it is set, so that
 * what crashed can be looked at and run again.
 */

#include <time.h>

#include "fuzz.h"

#define ROUNDS_MAX 30000
#define SECONDS_MAX 1
#define INPUT_MAX 4096
#define FILE_MAX (1U << 20)

typedef struct Input {
        uint8_t bytes[INPUT_MAX];
        size_t size;
} Input;

static uint64_t state = UINT64_C(0x9e3779b97f4a7c15);

/* xorshift64*: the same numbers everywhere, which random() does not promise. */
static size_t pick(size_t n) {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        return (size_t)((state * UINT64_C(0x2545f4914f6cdd1d)) >> 33) % n;
}

static void insert(Input *input, size_t at, const void *data, size_t size) {
        if (size > INPUT_MAX - input->size)
                size = INPUT_MAX - input->size;
        memmove(input->bytes + at + size, input->bytes + at, input->size - at);
        memcpy(input->bytes + at, data, size);
        input->size += size;
}

static void cut(Input *input, size_t at, size_t size) {
        if (size > input->size - at)
                size = input->size - at;
        memmove(input->bytes + at, input->bytes + at + size, input->size - at - size);
        input->size -= size;
}

static void mutate(Input *input, size_t n_seeds) {
        static const char *const tokens[] = {
                "\n", " ", "\t", "\"", "'",  "\\", "-",        "0", "65535", "18446744073709551616",
                ",",  ":", "=",  "#",  "[]", "--", "\xff\xa0", "9", "0x",    "4294967296",
        };
        size_t at = pick(input->size + 1);
        const char *other = fuzz_seeds[pick(n_seeds)];
        uint8_t copy[32];
        size_t size;

        switch (pick(8)) {
        case 0:
                if (at < input->size)
                        input->bytes[at] ^= (uint8_t)(1U << pick(8));
                break;
        case 1:
                if (at < input->size)
                        input->bytes[at] = (uint8_t)pick(256);
                break;
        case 2:
                cut(input, at, 1 + pick(16));
                break;
        case 3:
                cut(input, at, input->size);
                break;
        case 4:
        case 5:
                other = tokens[pick(ELEMENTSOF(tokens))];
                insert(input, at, other, strlen(other));
                break;
        case 6:
                size = 1 + pick(sizeof(copy));
                if (size <= input->size - at) {
                        memcpy(copy, input->bytes + at, size);
                        insert(input, pick(input->size + 1), copy, size);
                }
                break;
        default:
                insert(input, at, other, strlen(other));
                break;
        }
}

static void save(const Input *input) {
        const char *path = getenv("FUZZ_LAST");
        FILE *f = path ? fopen(path, "w") : NULL;

        if (!f)
                return;
        (void)fwrite(input->bytes, 1, input->size, f);
        (void)fclose(f);
}

/* The target gets a buffer of exactly this size, so that a read beyond its end is noticed. */
static void run(const uint8_t *bytes, size_t size) {
        uint8_t *data = malloc(size > 0 ? size : 1);

        if (!data)
                abort();
        if (size > 0)
                memcpy(data, bytes, size);
        (void)LLVMFuzzerTestOneInput(data, size);
        free(data);
}

static void take_seed(const char *seed, Input *input) {
        size_t size = strlen(seed);

        input->size = size < INPUT_MAX ? size : INPUT_MAX;
        memcpy(input->bytes, seed, input->size);
}

static int run_file(const char *path) {
        uint8_t *bytes = malloc(FILE_MAX);
        FILE *f = fopen(path, "r");
        size_t size;

        if (!f || !bytes) {
                perror(path);
                if (f)
                        (void)fclose(f);
                free(bytes);
                return -1;
        }
        size = fread(bytes, 1, FILE_MAX, f);
        (void)fclose(f);
        run(bytes, size);
        free(bytes);
        return 0;
}

int main(int argc, char *argv[]) {
        clock_t end = clock() + SECONDS_MAX * CLOCKS_PER_SEC;
        size_t n_seeds = 0, rounds = 0;
        static Input input;

        for (int i = 1; i < argc; i++)
                if (run_file(argv[i]) < 0)
                        return EXIT_FAILURE;
        if (argc > 1)
                return EXIT_SUCCESS;

        for (; fuzz_seeds[n_seeds]; n_seeds++) {
                take_seed(fuzz_seeds[n_seeds], &input);
                run(input.bytes, input.size);
        }
        while (rounds++ < ROUNDS_MAX && clock() < end) {
                take_seed(fuzz_seeds[pick(n_seeds)], &input);
                for (size_t n = 1 + pick(6); n > 0; n--)
                        mutate(&input, n_seeds);
                save(&input);
                run(input.bytes, input.size);
        }
        printf("%zu seeds, %zu mutations\n", n_seeds, rounds - 1);
        return EXIT_SUCCESS;
}
