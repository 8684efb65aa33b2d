/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * poisoned: the memory that must not be used any more, of this boot and of earlier ones
 */

#include <inttypes.h>

#include "basic/root-fs.h"
#include "basic/size-util.h"
#include "dmemctl/ledger-view.h"
#include "dmemctl/table.h"
#include "host/plan-json.h"
#include "host/poison-text.h"

static bool is_this_boot(const LedgerView *v, const LedgerUnit *unit) {
        return unit->boot == v->boot && v->file.ledger->boots[v->boot].id[0] != '\0';
}

/* One of `PID:COMMAND,PID,…`; a command may have commas, but none before digits, see comm(5). */
typedef struct Process {
        uint64_t pid;
        char *command; /* NULL: not known */
} Process;

/* Takes the first process off *at. Returns 1, 0 if there is none, or -ENOMEM. */
static int next_process(const char **at, Process *ret) {
        const char *text = *at, *end;
        size_t digits = strspn(text, "0123456789");
        char number[21] = "";

        if (digits == 0 || digits >= sizeof(number))
                return 0;
        memcpy(number, text, digits);
        *ret = (Process){};
        if (parse_u64(number, &ret->pid) < 0)
                return 0;
        end = text + digits;
        for (;; end++) {
                end += strcspn(end, ",");
                if (*end == '\0' || strspn(end + 1, "0123456789") > 0)
                        break;
        }
        if (text[digits] == ':') {
                ret->command = strndup(text + digits + 1, (size_t)(end - text) - digits - 1);
                if (!ret->command)
                        return -ENOMEM;
        }
        *at = *end == ',' ? end + 1 : end;
        return 1;
}

/* The kernel's list of users has no commands; of a process that still runs there is another way. */
static void find_command(const LedgerView *v, const LedgerUnit *unit, Process *process) {
        _cleanup_free_ char *command = NULL;
        char path[64];

        if (process->command || !v->live || unit->state != UNIT_USED)
                return;
        (void)snprintf(path, sizeof(path), "proc/%" PRIu64 "/comm", process->pid);
        if (root_read_text(v->d->root_fd, path, &command) >= 0)
                process->command = text_printable(command);
}

static json_object *process_to_json(const Process *process) {
        _cleanup_(json_object_putp) json_object *object = json_object_new_object();

        if (!object || json_add(object, "pid", json_new_bytes(process->pid)) < 0 ||
            json_object_object_add(object, "command",
                                   process->command ? json_object_new_string(process->command)
                                                    : NULL) < 0)
                return NULL;
        return TAKE_PTR(object);
}

static json_object *processes_to_json(const LedgerView *v, const LedgerUnit *unit) {
        _cleanup_(json_object_putp) json_object *array = json_object_new_array();
        _cleanup_free_ char *text = strdup(unit->user.processes ?: "");
        const char *at = text;
        Process process;
        char *more;
        int r;

        if (!text)
                return NULL;
        /* The kernel had room for no more of them. */
        more = strstr(text, ",...");
        if (more && streq(more, ",..."))
                *more = '\0';
        while (array && (r = next_process(&at, &process)) != 0) {
                if (r < 0)
                        return NULL;
                find_command(v, unit, &process);
                r = json_append(array, process_to_json(&process));
                free(process.command);
                if (r < 0)
                        return NULL;
        }
        return TAKE_PTR(array);
}

static int add_text(json_object *object, const char *key, const char *text) {
        return json_object_object_add(object, key, text ? json_object_new_string(text) : NULL) < 0
                       ? -ENOMEM
                       : 0;
}

static int add_address(json_object *object, const char *key, bool known, uint64_t address) {
        char text[2 + 16 + 1];

        (void)snprintf(text, sizeof(text), "0x%" PRIx64, address);
        return add_text(object, key, known ? text : NULL);
}

static int add_number(json_object *object, const char *key, bool known, uint64_t number) {
        return json_object_object_add(object, key, known ? json_new_bytes(number) : NULL) < 0
                       ? -ENOMEM
                       : 0;
}

static json_object *unit_to_json(const LedgerView *v, const LedgerUnit *unit) {
        _cleanup_(json_object_putp) json_object *object = json_object_new_object();
        const char *boot_id = v->file.ledger->boots[unit->boot].id;
        const UnitUser *user = &unit->user;

        if (!object || add_address(object, "address", true, unit->address) < 0 ||
            add_number(object, "node", unit->node != UNIT_NO_NODE, unit->node) < 0 ||
            add_text(object, "state", unit_state_to_string(unit->state)) < 0 ||
            add_text(object, "source", unit_source_to_string(unit->source)) < 0 ||
            add_number(object, "first_seen_usec", unit->first_seen > 0, unit->first_seen) < 0 ||
            add_number(object, "last_seen_usec", unit->last_seen > 0, unit->last_seen) < 0 ||
            add_text(object, "boot_id", boot_id[0] ? boot_id : NULL) < 0 ||
            json_add(object, "this_boot", json_object_new_boolean(is_this_boot(v, unit))) < 0 ||
            json_add(object, "forgotten",
                     json_object_new_boolean(unit->forgotten != LEDGER_NO_BOOT)) < 0 ||
            json_add(object, "retired", json_object_new_boolean(unit->retired)) < 0 ||
            add_text(object, "file", user->file) < 0 ||
            add_text(object, "device", user->device) < 0 ||
            add_number(object, "inode", user->device, user->inode) < 0 ||
            add_address(object, "offset", user->device, user->offset) < 0 ||
            json_add(object, "processes", processes_to_json(v, unit)) < 0)
                return NULL;
        return TAKE_PTR(object);
}

/* One unit after the other: there may be very many. */
static int print_units_json(const LedgerView *v) {
        int flags = JSON_C_TO_STRING_NOSLASHESCAPE;
        bool pretty = v->d->json == JSON_MODE_PRETTY;
        const Ledger *l = v->file.ledger;

        if (pretty)
                flags |= JSON_C_TO_STRING_SPACED;
        printf("{\"version\":1,\"source\":\"%s\",\"units\":[", v->source);
        for (size_t i = 0; i < l->n_units; i++) {
                _cleanup_(json_object_putp) json_object *object = unit_to_json(v, &l->units[i]);
                const char *text = object ? json_object_to_json_string_ext(object, flags) : NULL;

                if (!text)
                        return -ENOMEM;
                printf("%s%s%s", i > 0 ? "," : "", pretty ? "\n  " : "", text);
        }
        printf("%s]}\n", pretty && l->n_units > 0 ? "\n" : "");
        return 0;
}

static int add_row(Table *t, const LedgerView *v, const LedgerUnit *unit) {
        const UnitUser *user = &unit->user;
        char first[FORMAT_TIME_MAX];
        int r;

        r = table_add(t, "0x%" PRIx64, unit->address);
        if (r >= 0)
                r = unit->node != UNIT_NO_NODE ? table_add(t, "%u", unit->node) : table_add(t, "-");
        if (r >= 0)
                r = table_add(t, "%s%s", unit_state_to_string(unit->state),
                              unit->forgotten != LEDGER_NO_BOOT ? ", forgotten" : "");
        if (r >= 0)
                r = table_add(t, "%s", unit_source_to_string(unit->source));
        if (r >= 0)
                r = table_add(t, "%s", format_time(first, unit->first_seen));
        if (r >= 0)
                r = table_add(t, "%s", is_this_boot(v, unit) ? "this" : "earlier");
        if (r >= 0)
                r = table_add(t, "%s", user->file ?: "-");
        if (r >= 0)
                r = user->device ? table_add(t, "0x%" PRIx64, user->offset) : table_add(t, "-");
        if (r >= 0)
                r = table_add(t, "%s", user->processes ?: "-");
        return r;
}

static const char *source_text(const LedgerView *v) {
        if (streq(v->source, "dmemd"))
                return "from dmemd, over D-Bus";
        if (streq(v->source, "sysfs"))
                return "from the ledger and sysfs, without dmemd";
        return "from the files below --root=";
}

static int print_units(const LedgerView *v) {
        static const char *const head[] = {
                "ADDRESS", "NODE", "STATE",  "SOURCE",    "FOUND",
                "BOOT",    "FILE", "OFFSET", "PROCESSES",
        };
        _cleanup_(table_done) Table t = { .n_columns = ELEMENTSOF(head), .left = 0x17dU };
        const Ledger *l = v->file.ledger;
        char size[FORMAT_SIZE_MAX];
        int r;

        if (l->n_units == 0) {
                printf("No memory is poisoned or retired (%s).\n", source_text(v));
                return 0;
        }
        for (size_t i = 0; i < ELEMENTSOF(head); i++) {
                r = table_add(&t, "%s", head[i]);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < l->n_units; i++) {
                r = add_row(&t, v, &l->units[i]);
                if (r < 0)
                        return r;
        }
        if (v->d->legend)
                table_print(&t, 0, 1, colour_bold(v->d), colour_off(v->d));
        table_print(&t, 1, l->n_units, "", "");
        if (v->d->legend)
                printf("\n%zu %s of 4 KiB, %s in all (%s)\n", l->n_units,
                       l->n_units == 1 ? "unit" : "units",
                       format_size_rounded(size, l->n_units * UNIT_SIZE), source_text(v));
        return 0;
}

int verb_poisoned(Dmemctl *d, int argc, char *argv[]) {
        _cleanup_(ledger_view_done) LedgerView v = { .d = d, .lock = -EBADF };
        LedgerCondition condition;
        int r;

        r = ledger_view_load(&v);
        if (r != 0)
                return r;
        condition = v.file.condition;
        if (d->json != JSON_MODE_OFF) {
                r = print_units_json(&v);
        } else {
                pager_open(d);
                r = print_units(&v);
        }
        if (r < 0)
                return r;
        /* Then it was said what is wrong, and there may be more than is shown. */
        return condition == LEDGER_DAMAGED || condition == LEDGER_UNREADABLE ? EXIT_FAILURE
                                                                             : EXIT_SUCCESS;
}
