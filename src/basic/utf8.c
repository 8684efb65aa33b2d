/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdint.h>
#include <stdlib.h>

#include "basic/macro.h"
#include "basic/utf8.h"

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

size_t utf8_length(const char *s) {
        static const struct {
                unsigned char mask, lead;
                uint32_t least;
        } forms[] = {
                { 0x80, 0x00, 0 },
                { 0xe0, 0xc0, 0x80 },
                { 0xf0, 0xe0, 0x800 },
                { 0xf8, 0xf0, 0x10000 },
        };
        unsigned char lead = (unsigned char)s[0];

        for (size_t n = 0; n < ELEMENTSOF(forms); n++) {
                uint32_t code = lead & (unsigned char)~forms[n].mask;

                if ((lead & forms[n].mask) != forms[n].lead)
                        continue;
                for (size_t i = 1; i <= n; i++) {
                        if (((unsigned char)s[i] & 0xc0) != 0x80)
                                return 0;
                        code = code << 6 | ((unsigned char)s[i] & 0x3f);
                }
                if (code < forms[n].least || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
                        return 0;
                return n + 1;
        }
        return 0;
}

char *utf8_replace_invalid(const char *text) {
        char *copy = malloc(strlen(text) * strlen(REPLACEMENT) + 1), *end = copy;

        if (!copy)
                return NULL;
        while (*text != '\0') {
                size_t n = utf8_length(text);

                if (n > 0)
                        memcpy(end, text, n);
                else
                        memcpy(end, REPLACEMENT, strlen(REPLACEMENT));
                end += n > 0 ? n : strlen(REPLACEMENT);
                text += n > 0 ? n : 1;
        }
        *end = '\0';
        return copy;
}
