/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Calls everything that org.dmemd1 has, and much that it has not, with random arguments
 * usage: fuzz-bus SECONDS
 *
 * Speaks to the system bus ($DBUS_SYSTEM_BUS_ADDRESS). What there is, is learned by introspection,
 * so that nothing that is added is left out: at first each method is called and each property is
 * read and written, on each object and on paths that are none; then at random until the time is
 * over. Answers may be errors; no answer is a failure: then the daemon is stuck or dead. Prints one
 * line for each member, with the number of calls and of those that were no errors.
 */

#include <stdint.h>
#include <stdio.h>
#include <systemd/sd-bus.h>
#include <time.h>

#include "basic/macro.h"
#include "basic/size-util.h"

#define NAME "org.dmemd1"
#define PROPERTIES "org.freedesktop.DBus.Properties"
#define ANSWER_USEC (UINT64_C(60) * 1000 * 1000)
#define MEMBERS_MAX 128
#define DEPTH_MAX 4

static const char *const objects[] = { "/org/dmemd1", "/org/dmemd1/node/0" };

static const char *const paths[] = {
        "/org/dmemd1",
        "/org/dmemd1/node/0",
        "/org/dmemd1/node/1",
        "/",
        "/org",
        "/org/dmemd1/node",
        "/org/dmemd1/node/01",
        "/org/dmemd1/node/4294967296",
        "/org/dmemd1/node/_30",
        "/org/dmemd1/node/0/0",
};

static const char *const texts[] = {
        "",
        "no such thing",
        "%s%n",
        "\xc3\xa4",
        "0",
        "-1",
        "18446744073709551616",
        "../../etc/passwd",
        "/org/dmemd1",
        NAME ".Manager",
        NAME ".Node",
};

typedef struct Member {
        char *interface, *name;
        bool property;
        unsigned n_calls, n_good;
} Member;

static Member members[MEMBERS_MAX];
static size_t n_members;

/* xorshift64: the same sequence everywhere */
static uint64_t random_state = UINT64_C(0x9e3779b97f4a7c15);

static unsigned below(size_t n) {
        random_state ^= random_state << 13;
        random_state ^= random_state >> 7;
        random_state ^= random_state << 17;
        return (unsigned)(random_state % n);
}

static const char *any_text(void) {
        if (n_members > 0 && below(2) == 0)
                return below(2) == 0 ? members[below(n_members)].name
                                     : members[below(n_members)].interface;
        return texts[below(ELEMENTSOF(texts))];
}

static bool add_member(const char *interface, const char *name, bool property) {
        for (size_t i = 0; i < n_members; i++)
                if (streq(members[i].interface, interface) && streq(members[i].name, name))
                        return true;
        if (n_members == MEMBERS_MAX)
                return false;
        members[n_members] = (Member){ strdup(interface), strdup(name), property, 0, 0 };
        return members[n_members].interface && members[n_members++].name;
}

/* Enough of XML for what sd-bus prints: one element a line, its name first. */
static bool read_introspection(char *xml) {
        char *interface = NULL, *line;

        while ((line = strsep(&xml, "\n"))) {
                static const char *const elements[] = { "<interface", "<method", "<property" };

                line += strspn(line, " \t");
                for (size_t i = 0; i < ELEMENTSOF(elements); i++) {
                        char *name = (char *)startswith(line, elements[i]), *end;

                        name = name ? (char *)startswith(name, " name=\"") : NULL;
                        end = name ? strchr(name, '"') : NULL;
                        if (!end)
                                continue;
                        *end = '\0';
                        if (i == 0)
                                interface = name;
                        else if (interface && !add_member(interface, name, i == 2))
                                return false;
                }
        }
        return n_members > 0;
}

static int introspect(sd_bus *bus, const char *path) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *reply = NULL;
        _cleanup_free_ char *copy = NULL;
        const char *xml;
        int r;

        r = sd_bus_call_method(bus, NAME, path, "org.freedesktop.DBus.Introspectable", "Introspect",
                               &error, &reply, NULL);
        if (r >= 0)
                r = sd_bus_message_read(reply, "s", &xml);
        copy = r >= 0 ? strdup(xml) : NULL;
        if (r < 0)
                fprintf(stderr, "Introspect of %s: %s\n", path, error.message ?: strerror(-r));
        else if (!copy || !read_introspection(copy))
                r = -ENOBUFS;
        sd_bus_error_free(&error);
        sd_bus_message_unref(reply);
        return r;
}

static int append_basic(sd_bus_message *m, char type) {
        switch (type) {
        case 's':
                return sd_bus_message_append_basic(m, type, any_text());
        case 'o':
                return sd_bus_message_append_basic(m, type, paths[below(ELEMENTSOF(paths))]);
        case 'g':
                return sd_bus_message_append_basic(m, type, "a{sv}");
        case 'h':
                return sd_bus_message_append_basic(m, type, &(int){ STDERR_FILENO });
        case 'b':
                return sd_bus_message_append_basic(m, type, &(int){ (int)below(2) });
        default: /* numbers of up to 8 bytes */
                (void)below(2);
                return sd_bus_message_append_basic(m, type, &random_state);
        }
}

static const char basic_types[] = "ybnqiuxtdsog";

static int append_any(sd_bus_message *m, unsigned depth) {
        char type = (basic_types)[below(sizeof(basic_types) - 1)];
        const char contents[] = { type, '\0' };
        unsigned kind = depth == DEPTH_MAX ? 0 : below(5);
        int r;

        switch (kind) {
        case 1:
                r = sd_bus_message_open_container(m, 'v', contents);
                if (r >= 0)
                        r = append_basic(m, type);
                break;
        case 2:
                r = sd_bus_message_open_container(m, 'a', contents);
                for (unsigned n = below(5); n > 0 && r >= 0; n--)
                        r = append_basic(m, type);
                break;
        case 3:
                r = sd_bus_message_open_container(m, 'a', "v");
                for (unsigned n = below(3); n > 0 && r >= 0; n--) {
                        r = sd_bus_message_open_container(m, 'v', "s");
                        if (r >= 0)
                                r = append_basic(m, 's');
                        if (r >= 0)
                                r = sd_bus_message_close_container(m);
                }
                break;
        case 4:
                return sd_bus_message_append(m, "a{sv}", 1, any_text(), "as", 2, any_text(),
                                             any_text());
        default:
                return append_basic(m, below(20) == 0 ? 'h' : type);
        }
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_random(sd_bus_message *m) {
        int r = 0;

        for (unsigned n = below(4); n > 0 && r >= 0; n--)
                r = append_any(m, 0);
        return r;
}

static bool is_dead(const sd_bus_error *error) {
        return !sd_bus_error_is_set(error) ||
               sd_bus_error_has_names(error, SD_BUS_ERROR_NO_REPLY, SD_BUS_ERROR_SERVICE_UNKNOWN,
                                      SD_BUS_ERROR_NAME_HAS_NO_OWNER, SD_BUS_ERROR_DISCONNECTED,
                                      SD_BUS_ERROR_TIMEOUT);
}

/* Sends the message and takes it over. Returns 1 for an answer, 0 for an error, or -errno. */
static int send_and_wait(sd_bus *bus, sd_bus_message *m, const char *what) {
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_call(bus, m, ANSWER_USEC, &error, &reply);
        if (r < 0 && is_dead(&error))
                fprintf(stderr, "%s: %s\n", what, error.message ?: strerror(-r));
        else
                r = r >= 0;
        sd_bus_error_free(&error);
        sd_bus_message_unref(m);
        sd_bus_message_unref(reply);
        return r;
}

typedef enum Arguments {
        ARGUMENTS_NONE,
        ARGUMENTS_RANDOM,
        _ARGUMENTS_MAX,
} Arguments;

/* A method is called, a property read or written. */
static int call_member(sd_bus *bus, Member *member, const char *path, Arguments arguments) {
        sd_bus_message *m = NULL;
        int r;

        if (member->property) {
                r = sd_bus_message_new_method_call(bus, &m, NAME, path, PROPERTIES,
                                                   arguments == ARGUMENTS_NONE ? "Get" : "Set");
                if (r >= 0)
                        r = sd_bus_message_append(m, "ss", member->interface, member->name);
                if (r >= 0 && arguments == ARGUMENTS_RANDOM)
                        r = sd_bus_message_append(m, "v", "s", any_text());
        } else {
                const char *interface = member->interface;

                if (arguments == ARGUMENTS_RANDOM && below(8) == 0)
                        interface = NULL;
                r = sd_bus_message_new_method_call(bus, &m, NAME, path, interface, member->name);
                if (r >= 0 && arguments == ARGUMENTS_RANDOM)
                        r = append_random(m);
        }
        if (r < 0) {
                fprintf(stderr, "Cannot make a message for %s: %s\n", member->name, strerror(-r));
                sd_bus_message_unref(m);
                return r;
        }
        r = send_and_wait(bus, m, member->name);
        if (r < 0)
                return r;
        member->n_calls++;
        member->n_good += (unsigned)r;
        return 0;
}

static int call_all(sd_bus *bus) {
        for (size_t i = 0; i < n_members; i++)
                for (size_t k = 0; k < ELEMENTSOF(paths); k++)
                        for (Arguments a = 0; a < _ARGUMENTS_MAX; a++) {
                                int r = call_member(bus, &members[i], paths[k], a);

                                if (r < 0)
                                        return r;
                        }
        return 0;
}

/* Names that nobody has. */
static int call_nothing(sd_bus *bus) {
        static Member nothing[] = {
                { (char *)"org.example.None", (char *)"Nothing", false, 0, 0 },
                { (char *)NAME ".Manager", (char *)"Reload", false, 0, 0 },
                { (char *)NAME ".Node", (char *)"NoSuchProperty", true, 0, 0 },
        };

        return call_member(bus, &nothing[below(ELEMENTSOF(nothing))],
                           paths[below(ELEMENTSOF(paths))], below(_ARGUMENTS_MAX));
}

static int call_random(sd_bus *bus) {
        if (below(16) == 0)
                return call_nothing(bus);
        return call_member(bus, &members[below(n_members)], paths[below(ELEMENTSOF(paths))],
                           below(_ARGUMENTS_MAX));
}

int main(int argc, char *argv[]) {
        sd_bus *bus = NULL;
        unsigned seconds;
        time_t end;
        int r = 0;

        if (argc != 2 || parse_unsigned(argv[1], &seconds) < 0) {
                fprintf(stderr, "usage: fuzz-bus SECONDS\n");
                return 2;
        }
        r = sd_bus_open_system(&bus);
        if (r < 0) {
                fprintf(stderr, "Cannot connect to the bus: %s\n", strerror(-r));
                return EXIT_FAILURE;
        }
        for (size_t i = 0; i < ELEMENTSOF(objects) && r >= 0; i++)
                r = introspect(bus, objects[i]);
        if (r >= 0)
                r = call_all(bus);
        for (end = time(NULL) + seconds; r >= 0 && time(NULL) < end;)
                r = call_random(bus);
        for (size_t i = 0; i < n_members; i++) {
                printf("%s.%s %u %u\n", members[i].interface, members[i].name, members[i].n_calls,
                       members[i].n_good);
                free(members[i].interface);
                free(members[i].name);
        }
        sd_bus_flush_close_unref(bus);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
