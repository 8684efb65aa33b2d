/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdio.h>

#include "basic/id-set.h"
#include "basic/size-util.h"
#include "basic/utf8.h"
#include "host/poison-text.h"

/* Bytes of the character that @s begins with; 0 if it is none that a terminal would print. */
static size_t printable_length(const char *s) {
        unsigned char lead = (unsigned char)s[0];

        /* C0, DEL and C1: terminals obey them */
        if (lead < 0x20 || lead == 0x7f || (lead == 0xc2 && (unsigned char)s[1] < 0xa0))
                return 0;
        return utf8_length(s);
}

char *text_printable(const char *text) {
        char *copy = malloc(strlen(text) * 4 + 1), *end = copy;

        if (!copy)
                return NULL;
        while (*text) {
                size_t n = printable_length(text);

                if (n == 0) {
                        end += sprintf(end, "\\%03o", (unsigned char)*text++);
                        continue;
                }
                memcpy(end, text, n);
                end += n;
                text += n;
        }
        *end = '\0';
        return copy;
}

/* `0x` and digits, a multiple of the unit. */
static int parse_unit_address(const char *text, uint64_t *ret) {
        uint64_t address;

        if (!startswith(text, "0x") || parse_hex(text, &address) < 0 || address % UNIT_SIZE != 0)
                return -EBADMSG;
        *ret = address;
        return 0;
}

static size_t count_lines(const char *text) {
        size_t n = 1;

        for (const char *c = text; *c != '\0'; c++)
                n += *c == '\n';
        return n;
}

static int compare_units(const void *a, const void *b) {
        const PoisonedUnit *x = a, *y = b;

        return (x->address > y->address) - (x->address < y->address);
}

/* Returns how many there are, each once. */
static size_t sort_units(PoisonedUnit *units, size_t n_read) {
        size_t n = 0;

        if (n_read > 1)
                qsort(units, n_read, sizeof(PoisonedUnit), compare_units);
        for (size_t i = 0; i < n_read; i++) {
                if (n > 0 && units[n - 1].address == units[i].address)
                        n--;
                units[n++] = units[i];
        }
        return n;
}

int poisoned_parse(const char *text, PoisonedUnit **ret, size_t *ret_n) {
        const char *end = text + strlen(text), *newline;
        _cleanup_free_ PoisonedUnit *units = NULL;
        size_t n = 0;

        units = new0(PoisonedUnit, count_lines(text));
        if (!units)
                return -ENOMEM;
        /* Not strcspn(): the address sanitizer then reads all of the text for each line */
        for (; text < end; text = newline + (newline < end)) {
                char line[64], *space;
                size_t length;

                newline = memchr(text, '\n', (size_t)(end - text)) ?: end;
                length = (size_t)(newline - text);
                if (length >= sizeof(line))
                        return -EBADMSG;
                memcpy(line, text, length);
                line[length] = '\0';
                space = strchr(line, ' ');
                if (!space)
                        return -EBADMSG;
                *space++ = '\0';
                if (parse_unit_address(line, &units[n].address) < 0 ||
                    (!streq(space, "used") && !streq(space, "free")))
                        return -EBADMSG;
                units[n++].used = streq(space, "used");
        }
        *ret_n = sort_units(units, n);
        *ret = TAKE_PTR(units);
        return 0;
}

/* Takes printable text; an empty one is not known. */
static int set_text(char **text, const char *value) {
        char *copy = NULL;

        if (value[0] != '\0') {
                copy = text_printable(value);
                if (!copy)
                        return -ENOMEM;
        }
        free(*text);
        *text = copy;
        return 0;
}

static bool is_device(const char *text) {
        size_t major = strspn(text, "0123456789"), minor;

        if (major == 0 || major > 10 || text[major] != ':')
                return false;
        minor = strspn(text + major + 1, "0123456789");
        return minor > 0 && minor <= 10 && text[major + 1 + minor] == '\0';
}

/* `-` or `1,2,3`; of more than there is room for the kernel makes `1,2,...` */
static bool are_processes(const char *text) {
        size_t digits = strspn(text, "0123456789,");

        return streq(text, "-") ||
               (digits > 0 && (text[digits] == '\0' || streq(text + digits - 1, ",...")));
}

static int parse_user(char *line, Sighting *ret) {
        char *words[5], *rest = line;
        int r;

        for (size_t length = strlen(line); length > 0 && line[length - 1] == ' ';)
                line[--length] = '\0';

        for (size_t i = 0; i < ELEMENTSOF(words); i++) {
                words[i] = strsep(&rest, " ");
                if (!words[i])
                        return -EBADMSG;
        }
        if (!rest || parse_unit_address(words[0], &ret->address) < 0)
                return -EBADMSG;
        /* Its file comes or goes just now */
        if (streq(words[1], "-") && streq(words[2], "-") && streq(words[3], "-") &&
            streq(words[4], "-") && streq(rest, "-"))
                return 0;
        if (!is_device(words[1]) || parse_u64(words[2], &ret->user.inode) < 0 ||
            !startswith(words[3], "0x") || parse_hex(words[3], &ret->user.offset) < 0 ||
            !are_processes(words[4]))
                return -EBADMSG;
        r = set_text(&ret->user.device, words[1]);
        if (r >= 0 && !streq(words[4], "-"))
                r = set_text(&ret->user.processes, words[4]);
        return r < 0 || streq(rest, "-") ? r : set_text(&ret->user.file, rest);
}

int users_parse(const char *text, Sighting **ret, size_t *ret_n) {
        _cleanup_free_ char *copy = strdup(text);
        Sighting *users;
        char *rest = copy, *line;
        size_t n = 0;
        int r = 0;

        users = new0(Sighting, count_lines(text));
        if (!copy || !users) {
                free(users);
                return -ENOMEM;
        }
        while (r >= 0 && (line = strsep(&rest, "\n")))
                if (*line != '\0')
                        r = parse_user(line, &users[n++]);
        if (r < 0) {
                sightings_free(users, n);
                return r;
        }
        *ret = users;
        *ret_n = n;
        return 0;
}

/* Uevents */

enum {
        SEEN_EVENT = 1 << 0,
        SEEN_NODE = 1 << 1,
        SEEN_ADDRESS = 1 << 2,
        SEEN_SIZE = 1 << 3,
        SEEN_STATE = 1 << 4,
        SEEN_SOURCE = 1 << 5,
        SEEN_COUNT = 1 << 6,
        SEEN_COALESCED = 1 << 7,
        SEEN_NEEDED = SEEN_COALESCED - 1,
};

void poison_event_done(PoisonEvent *e) {
        unit_user_done(&e->unit.user);
        *e = (PoisonEvent){};
}

static int set_event(PoisonEvent *e, const char *value) {
        if (!streq(value, "poison") && !streq(value, "retire"))
                return -EBADMSG;
        e->unit.retired = streq(value, "retire");
        return 0;
}

static int set_node(PoisonEvent *e, const char *value) {
        return parse_unsigned(value, &e->unit.node) < 0 || e->unit.node >= ID_SET_MAX ? -EBADMSG
                                                                                      : 0;
}

static int set_address(PoisonEvent *e, const char *value) {
        return parse_unit_address(value, &e->unit.address);
}

static int set_size(PoisonEvent *e, const char *value) {
        return parse_u64(value, &e->size) < 0 || e->size == 0 || e->size % UNIT_SIZE != 0 ||
                               e->size > POISON_EVENT_SIZE_MAX
                       ? -EBADMSG
                       : 0;
}

static int set_state(PoisonEvent *e, const char *value) {
        if (unit_state_from_string(value, &e->unit.state) < 0 ||
            (e->unit.state != UNIT_FREE && e->unit.state != UNIT_USED))
                return -EBADMSG;
        return 0;
}

static int set_source(PoisonEvent *e, const char *value) {
        /* One that a later kernel knows is no reason not to note the memory. */
        if (unit_source_from_string(value, &e->unit.source) < 0)
                e->unit.source = SOURCE_UNKNOWN;
        return 0;
}

static int set_count(PoisonEvent *e, const char *value) {
        return parse_u64(value, &e->count) < 0 ? -EBADMSG : 0;
}

static int set_coalesced(PoisonEvent *e, const char *value) {
        return parse_u64(value, &e->n_new) < 0 ? -EBADMSG : 0;
}

static int set_file(PoisonEvent *e, const char *value) {
        return set_text(&e->unit.user.file, value);
}

static int set_device(PoisonEvent *e, const char *value) {
        return is_device(value) ? set_text(&e->unit.user.device, value) : -EBADMSG;
}

static int set_inode(PoisonEvent *e, const char *value) {
        return parse_u64(value, &e->unit.user.inode) < 0 ? -EBADMSG : 0;
}

static int set_offset(PoisonEvent *e, const char *value) {
        return parse_hex(value, &e->unit.user.offset) < 0 ? -EBADMSG : 0;
}

static int set_processes(PoisonEvent *e, const char *value) {
        return set_text(&e->unit.user.processes, value);
}

int poison_event_set(PoisonEvent *e, const char *key, const char *value) {
        static const struct {
                const char *key;
                int (*set)(PoisonEvent *e, const char *value);
                unsigned seen;
        } keys[] = {
                { "DMEM_EVENT", set_event, SEEN_EVENT },
                { "DMEM_NODE", set_node, SEEN_NODE },
                { "DMEM_ADDRESS", set_address, SEEN_ADDRESS },
                { "DMEM_SIZE", set_size, SEEN_SIZE },
                { "DMEM_STATE", set_state, SEEN_STATE },
                { "DMEM_SOURCE", set_source, SEEN_SOURCE },
                { "DMEM_COUNT", set_count, SEEN_COUNT },
                { "DMEM_COALESCED", set_coalesced, SEEN_COALESCED },
                { "DMEM_FILE", set_file, 0 },
                { "DMEM_DEV", set_device, 0 },
                { "DMEM_INODE", set_inode, 0 },
                { "DMEM_OFFSET", set_offset, 0 },
                { "DMEM_PROCESSES", set_processes, 0 },
        };
        int r;

        for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
                if (!streq(keys[i].key, key))
                        continue;
                r = keys[i].set(e, value);
                if (r >= 0)
                        e->seen |= keys[i].seen;
                return r;
        }
        return 0;
}

int poison_event_check(const PoisonEvent *e) {
        if (!(e->seen & SEEN_EVENT))
                return -ENOMSG;
        if ((e->seen & SEEN_NEEDED) != SEEN_NEEDED)
                return -EBADMSG;
        /* The last of its units must have an address, too. */
        if (e->unit.address > UINT64_MAX - e->size)
                return -EBADMSG;
        if (poison_event_new(e) == 0 || poison_event_new(e) > e->count)
                return -EBADMSG;
        return 0;
}

uint64_t poison_event_new(const PoisonEvent *e) {
        return e->seen & SEEN_COALESCED ? e->n_new : 1;
}
