/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Calls everything that org.dmemd1 has, and much that it has not, with random arguments
 * usage: fuzz-bus SECONDS
 *
 * Speaks to the system bus ($DBUS_SYSTEM_BUS_ADDRESS). Same calls in each run. Answers may be
 * errors; no answer is a failure: then the daemon is stuck or dead.
 */

#include <stdint.h>
#include <stdio.h>
#include <systemd/sd-bus.h>
#include <time.h>

#include "basic/macro.h"
#include "basic/size-util.h"

#define ANSWER_USEC (UINT64_C(20) * 1000 * 1000)

static const char *const paths[] = {
        "/",
        "/org",
        "/org/dmemd1",
        "/org/dmemd1/node",
        "/org/dmemd1/node/0",
        "/org/dmemd1/node/1",
        "/org/dmemd1/node/01",
        "/org/dmemd1/node/4294967296",
        "/org/dmemd1/node/_30",
        "/org/dmemd1/node/0/0",
};

static const char *const members[][2] = {
        { "org.dmemd1.Manager", "GetPlan" },
        { "org.dmemd1.Manager", "GetStatus" },
        { "org.dmemd1.Manager", "StateChanged" },
        { "org.dmemd1.Node", "Id" },
        { "org.freedesktop.DBus.Properties", "Get" },
        { "org.freedesktop.DBus.Properties", "Set" },
        { "org.freedesktop.DBus.Properties", "GetAll" },
        { "org.freedesktop.DBus.ObjectManager", "GetManagedObjects" },
        { "org.freedesktop.DBus.Introspectable", "Introspect" },
        { "org.freedesktop.DBus.Peer", "Ping" },
        { "org.example.None", "Nothing" },
};

static const char *const texts[] = {
        "",
        "org.dmemd1.Manager",
        "org.dmemd1.Node",
        "State",
        "FreeBytes",
        "Mounts",
        "Regions",
        "no such thing",
        "%s%n",
        "Id",
        "org.freedesktop.DBus.Peer",
        "/org/dmemd1",
        "\xc3\xa4",
        "Version",
        "TotalBytes",
};

/* xorshift64: the same sequence everywhere */
static uint64_t random_state = UINT64_C(0x9e3779b97f4a7c15);

static unsigned below(unsigned n) {
        random_state ^= random_state << 13;
        random_state ^= random_state >> 7;
        random_state ^= random_state << 17;
        return (unsigned)(random_state % n);
}

static const char *any_text(void) {
        return texts[below(ELEMENTSOF(texts))];
}

static int append_random(sd_bus_message *m) {
        switch (below(9)) {
        case 0:
                return sd_bus_message_append(m, "s", any_text());
        case 1:
                return sd_bus_message_append(m, "ss", any_text(), any_text());
        case 2:
                return sd_bus_message_append(m, "ssv", any_text(), any_text(), "s", any_text());
        case 3:
                return sd_bus_message_append(m, "t", random_state);
        case 4:
                return sd_bus_message_append(m, "a{sv}", 1, any_text(), "u", below(1U << 31));
        case 5:
                return sd_bus_message_append(m, "a(tt)", 1, random_state, ~random_state);
        case 6:
                return sd_bus_message_append(m, "as", 2, any_text(), any_text());
        case 7:
                return sd_bus_message_append(m, "h", STDERR_FILENO);
        default:
                return 0;
        }
}

static int call_once(sd_bus *bus) {
        const char *const *member = members[below(ELEMENTSOF(members))];
        sd_bus_message *m = NULL, *reply = NULL;
        sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = sd_bus_message_new_method_call(bus, &m, "org.dmemd1", paths[below(ELEMENTSOF(paths))],
                                           below(8) == 0 ? NULL : member[0], member[1]);
        if (r >= 0)
                r = append_random(m);
        if (r >= 0)
                r = sd_bus_call(bus, m, ANSWER_USEC, &error, &reply);
        if (r < 0 && sd_bus_error_is_set(&error) &&
            !sd_bus_error_has_names(&error, SD_BUS_ERROR_NO_REPLY, SD_BUS_ERROR_SERVICE_UNKNOWN,
                                    SD_BUS_ERROR_NAME_HAS_NO_OWNER, SD_BUS_ERROR_DISCONNECTED,
                                    SD_BUS_ERROR_TIMEOUT))
                r = 0;
        if (r < 0)
                fprintf(stderr, "%s.%s: %s\n", member[0], member[1], error.message ?: strerror(-r));
        sd_bus_error_free(&error);
        sd_bus_message_unref(m);
        sd_bus_message_unref(reply);
        return r;
}

int main(int argc, char *argv[]) {
        unsigned seconds, n = 0;
        sd_bus *bus = NULL;
        time_t end;
        int r;

        if (argc != 2 || parse_unsigned(argv[1], &seconds) < 0) {
                fprintf(stderr, "usage: fuzz-bus SECONDS\n");
                return 2;
        }
        r = sd_bus_open_system(&bus);
        if (r < 0) {
                fprintf(stderr, "Cannot connect to the bus: %s\n", strerror(-r));
                return EXIT_FAILURE;
        }
        for (end = time(NULL) + seconds; r >= 0 && time(NULL) < end; n++)
                r = call_once(bus);
        printf("%u calls\n", n);
        sd_bus_flush_close_unref(bus);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
