/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "basic/macro.h"
#include "basic/size-util.h"

static int digit_value(char c, unsigned base) {
        int value;

        if (c >= '0' && c <= '9')
                value = c - '0';
        else if (c >= 'a' && c <= 'f')
                value = c - 'a' + 10;
        else if (c >= 'A' && c <= 'F')
                value = c - 'A' + 10;
        else
                return -EINVAL;
        return value < (int)base ? value : -EINVAL;
}

/* Reads the digits at *text, moves *text behind them. At least one digit must be there. */
static int take_digits(const char **text, unsigned base, uint64_t *ret) {
        const char *p = *text;
        bool overflow = false;
        uint64_t value = 0;

        for (int digit; (digit = digit_value(*p, base)) >= 0; p++) {
                if (__builtin_mul_overflow(value, base, &value) ||
                    __builtin_add_overflow(value, (uint64_t)digit, &value))
                        overflow = true;
        }
        if (p == *text)
                return -EINVAL;

        *text = p;
        *ret = value;
        return overflow ? -ERANGE : 0;
}

static int parse_whole(const char *text, unsigned base, uint64_t *ret) {
        uint64_t value;
        int r;

        r = take_digits(&text, base, &value);
        if (r == -EINVAL || *text != '\0')
                return -EINVAL;
        if (r < 0)
                return r;

        *ret = value;
        return 0;
}

int parse_u64(const char *text, uint64_t *ret) {
        return parse_whole(text, 10, ret);
}

int parse_unsigned(const char *text, unsigned *ret) {
        uint64_t value;
        int r;

        r = parse_u64(text, &value);
        if (r < 0)
                return r;
        if (value > UINT32_MAX)
                return -ERANGE;

        *ret = (unsigned)value;
        return 0;
}

static const char *skip_hex_prefix(const char *text) {
        return text[0] == '0' && (text[1] == 'x' || text[1] == 'X') ? text + 2 : text;
}

int parse_hex(const char *text, uint64_t *ret) {
        return parse_whole(skip_hex_prefix(text), 16, ret);
}

static int unit_shift(char unit) {
        switch (unit) {
        case 'K':
        case 'k':
                return 10;
        case 'M':
        case 'm':
                return 20;
        case 'G':
        case 'g':
                return 30;
        case 'T':
        case 't':
                return 40;
        default:
                return -EINVAL;
        }
}

int parse_size(const char *text, uint64_t *ret) {
        const char *digits = skip_hex_prefix(text);
        uint64_t value;
        int r, shift = 0;

        r = take_digits(&digits, digits == text ? 10 : 16, &value);
        if (r == -EINVAL)
                return r;

        if (*digits != '\0') {
                shift = unit_shift(*digits++);
                if (shift < 0 || *digits != '\0')
                        return -EINVAL;
        }
        if (r < 0)
                return r;
        if (value > UINT64_MAX >> shift)
                return -ERANGE;

        *ret = value << shift;
        return 0;
}

static const char units[] = { 'K', 'M', 'G', 'T' };

char *format_size(char buffer[static FORMAT_SIZE_MAX], uint64_t size) {
        for (size_t i = ELEMENTSOF(units); i > 0; i--) {
                unsigned shift = 10 * (unsigned)i;

                if (size != 0 && (size & ((UINT64_C(1) << shift) - 1)) == 0) {
                        (void)snprintf(buffer, FORMAT_SIZE_MAX, "%" PRIu64 "%c", size >> shift,
                                       units[i - 1]);
                        return buffer;
                }
        }
        (void)snprintf(buffer, FORMAT_SIZE_MAX, "%" PRIu64, size);
        return buffer;
}

char *format_size_rounded(char buffer[static FORMAT_SIZE_MAX], uint64_t size) {
        for (size_t i = ELEMENTSOF(units); i > 0; i--) {
                unsigned shift = 10 * (unsigned)i;
                uint64_t tenths;

                if (size >> shift == 0)
                        continue;
                tenths = ((size >> (shift - 10)) % 1024) * 10 / 1024;
                if (tenths == 0)
                        (void)snprintf(buffer, FORMAT_SIZE_MAX, "%" PRIu64 "%c", size >> shift,
                                       units[i - 1]);
                else
                        (void)snprintf(buffer, FORMAT_SIZE_MAX, "%" PRIu64 ".%" PRIu64 "%c",
                                       size >> shift, tenths, units[i - 1]);
                return buffer;
        }
        (void)snprintf(buffer, FORMAT_SIZE_MAX, "%" PRIu64, size);
        return buffer;
}
