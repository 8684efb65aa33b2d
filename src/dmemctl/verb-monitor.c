/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * monitor: what dmemd tells on the bus, one line or one JSON object each
 */

#include <inttypes.h>
#include <signal.h>
#include <sys/epoll.h>
#include <systemd/sd-event.h>
#include <time.h>

#include "dmemctl/dmemd-client.h"
#include "dmemctl/ledger-view.h"
#include "host/plan-json.h"

/* Nesting of the values of properties; ours have two levels. */
#define DEPTH_MAX 8

typedef struct Monitor {
        Dmemctl *d;
        sd_bus *bus;
        sd_event *event;
} Monitor;

static void monitor_done(Monitor *m) {
        sd_bus_flush_close_unref(m->bus);
        sd_event_unref(m->event);
}

static uint64_t now_usec(void) {
        struct timespec now;

        (void)clock_gettime(CLOCK_REALTIME, &now);
        return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* A word of a line: texts without quotes as long as they are one word. */
static void print_word(const char *key, json_object *value) {
        const char *text = value ? json_object_get_string(value) : "unknown";

        if (json_object_is_type(value, json_type_string) &&
            (text[0] == '\0' || text[strcspn(text, " \"\\")] != '\0'))
                text = json_object_to_json_string_ext(value, JSON_C_TO_STRING_NOSLASHESCAPE);
        printf(" %s=%s", key, text);
}

static void print_members(json_object *object) {
        struct json_object_iter i;

        json_object_object_foreachC(object, i) {
                if (streq(i.key, "event") || streq(i.key, "version") || streq(i.key, "time_usec"))
                        continue;
                if (streq(i.key, "properties"))
                        print_members(i.val);
                else
                        print_word(i.key, i.val);
        }
}

/* Takes the object. Ends the loop when nobody reads any more. */
static int tell(Monitor *m, json_object *object) {
        _cleanup_(json_object_putp) json_object *owned = object;
        char time_text[FORMAT_TIME_MAX];
        json_object *event, *usec;
        int r;

        if (m->d->json != JSON_MODE_OFF) {
                r = print_json(m->d, TAKE_PTR(owned));
                if (r < 0)
                        return r;
        } else {
                if (!json_object_object_get_ex(owned, "event", &event) ||
                    !json_object_object_get_ex(owned, "time_usec", &usec))
                        return -ENOMEM;
                printf("%s %s", format_time(time_text, json_object_get_uint64(usec)),
                       json_object_get_string(event));
                print_members(owned);
                putchar('\n');
        }
        if (fflush(stdout) != 0)
                return sd_event_exit(m->event, EXIT_FAILURE);
        return 0;
}

static json_object *new_event(const char *name) {
        _cleanup_(json_object_putp) json_object *object = json_object_new_object();

        if (!object || json_add(object, "version", json_object_new_int(1)) < 0 ||
            json_add(object, "time_usec", json_new_bytes(now_usec())) < 0 ||
            json_add(object, "event", json_object_new_string(name)) < 0)
                return NULL;
        return TAKE_PTR(object);
}

static int on_poisoned(Monitor *m, sd_bus_message *message) {
        _cleanup_(json_object_putp) json_object *object = new_event("poisoned");
        uint64_t address, size;
        const char *state, *source;
        char text[2 + 16 + 1];
        uint32_t node;
        int r;

        r = sd_bus_message_read(message, "tutss", &address, &node, &size, &state, &source);
        if (r < 0)
                return 0; /* of a later version */
        (void)snprintf(text, sizeof(text), "0x%" PRIx64, address);
        if (!object ||
            json_object_object_add(object, "node",
                                   node != UNIT_NO_NODE ? json_new_bytes(node) : NULL) < 0 ||
            json_add(object, "address", json_object_new_string(text)) < 0 ||
            json_add(object, "size_bytes", json_new_bytes(size)) < 0 ||
            json_add(object, "state", json_object_new_string(state)) < 0 ||
            json_add(object, "source", json_object_new_string(source)) < 0)
                return -ENOMEM;
        return tell(m, TAKE_PTR(object));
}

static int on_state_changed(Monitor *m, sd_bus_message *message) {
        _cleanup_(json_object_putp) json_object *object = new_event("state-changed");
        const char *old, *new;

        if (sd_bus_message_read(message, "ss", &old, &new) < 0)
                return 0;
        if (!object || json_add(object, "old", json_object_new_string(old)) < 0 ||
            json_add(object, "new", json_object_new_string(new)) < 0)
                return -ENOMEM;
        return tell(m, TAKE_PTR(object));
}

/* `MissedEvents` is `missed_events` in JSON. */
static void to_snake_case(const char *name, char ret[static 64]) {
        size_t n = 0;

        for (; *name && n + 2 < 64; name++) {
                bool upper = *name >= 'A' && *name <= 'Z';

                if (upper && n > 0)
                        ret[n++] = '_';
                ret[n++] = upper ? (char)(*name - 'A' + 'a') : *name;
        }
        ret[n] = '\0';
}

/* Any value that dmemd has. Returns 1 and *ret (NULL: unknown), 0 at the end of a container. */
static int read_value(sd_bus_message *message, unsigned depth, json_object **ret) {
        _cleanup_(json_object_putp) json_object *array = NULL;
        const char *contents, *text;
        uint64_t number;
        uint32_t small;
        int boolean, r;
        char type;

        r = sd_bus_message_peek_type(message, &type, &contents);
        if (r <= 0)
                return r;
        switch (type) {
        case 's':
                r = sd_bus_message_read(message, "s", &text);
                *ret = r > 0 ? json_object_new_string(text) : NULL;
                return r;
        case 'b':
                r = sd_bus_message_read(message, "b", &boolean);
                *ret = r > 0 ? json_object_new_boolean(boolean) : NULL;
                return r;
        case 'u':
                r = sd_bus_message_read(message, "u", &small);
                *ret = r > 0 ? json_new_bytes(small) : NULL;
                return r;
        case 't':
                r = sd_bus_message_read(message, "t", &number);
                *ret = r > 0 && number != UINT64_MAX ? json_new_bytes(number) : NULL;
                return r;
        case 'a':
        case 'r':
                break;
        default:
                return -EBADMSG;
        }
        if (depth >= DEPTH_MAX)
                return -EBADMSG;
        array = json_object_new_array();
        r = array ? sd_bus_message_enter_container(message, type, contents) : -ENOMEM;
        if (r < 0)
                return r;
        for (;;) {
                json_object *value = NULL;

                r = read_value(message, depth + 1, &value);
                if (r < 0)
                        return r;
                if (r == 0)
                        break;
                if (json_object_array_add(array, value) < 0)
                        return -ENOMEM;
        }
        r = sd_bus_message_exit_container(message);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(array);
        return 1;
}

static int read_properties(sd_bus_message *message, json_object *properties) {
        const char *name, *contents;
        int r;

        r = sd_bus_message_enter_container(message, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(message, 'e', "sv")) > 0) {
                json_object *value = NULL;
                char key[64];

                r = sd_bus_message_read(message, "s", &name);
                if (r >= 0)
                        r = sd_bus_message_peek_type(message, NULL, &contents);
                if (r >= 0)
                        r = sd_bus_message_enter_container(message, 'v', contents);
                if (r >= 0)
                        r = read_value(message, 0, &value);
                if (r < 0)
                        return r;
                to_snake_case(name, key);
                if (json_object_object_add(properties, key, value) < 0)
                        return -ENOMEM;
                r = sd_bus_message_exit_container(message);
                if (r >= 0)
                        r = sd_bus_message_exit_container(message);
        }
        return r;
}

static int on_changed(Monitor *m, sd_bus_message *message) {
        _cleanup_(json_object_putp) json_object *object = new_event("changed");
        json_object *properties = json_object_new_object();
        const char *interface, *node;

        if (!object || json_add(object, "properties", properties) < 0)
                return -ENOMEM;
        if (sd_bus_message_read(message, "s", &interface) < 0 ||
            read_properties(message, properties) < 0)
                return 0;
        node = startswith(sd_bus_message_get_path(message), DMEMD_PATH "/node/");
        if (json_object_object_add(object, "node", node ? json_object_new_int(atoi(node)) : NULL) <
            0)
                return -ENOMEM;
        return tell(m, TAKE_PTR(object));
}

static int on_signal(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Monitor *m = ASSERT_PTR(userdata);
        int r = 0;

        if (sd_bus_message_is_signal(message, DMEMD_INTERFACE, "Poisoned") > 0)
                r = on_poisoned(m, message);
        else if (sd_bus_message_is_signal(message, DMEMD_INTERFACE, "StateChanged") > 0)
                r = on_state_changed(m, message);
        else if (sd_bus_message_is_signal(message, "org.freedesktop.DBus.Properties",
                                          "PropertiesChanged") > 0)
                r = on_changed(m, message);
        return r < 0 ? sd_event_exit(m->event, r) : 0;
}

static int on_owner(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Monitor *m = ASSERT_PTR(userdata);
        const char *name, *old, *new;
        int r;

        if (sd_bus_message_read(message, "sss", &name, &old, &new) < 0)
                return 0;
        r = tell(m, new_event(new[0] ? "started" : "stopped"));
        return r < 0 ? sd_event_exit(m->event, r) : 0;
}

/* Whoever read what we write has closed it. */
static int on_output(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        return sd_event_exit(sd_event_source_get_event(source), EXIT_SUCCESS);
}

static int add_signals(Monitor *m) {
        static const int stop[] = { SIGINT, SIGTERM };
        sigset_t mask;
        int r = 0;

        (void)sigemptyset(&mask);
        for (size_t i = 0; i < ELEMENTSOF(stop); i++)
                (void)sigaddset(&mask, stop[i]);
        if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
                return -errno;
        /* Without a handler: the event loop ends with 0 */
        for (size_t i = 0; i < ELEMENTSOF(stop) && r >= 0; i++)
                r = sd_event_add_signal(m->event, NULL, stop[i], NULL, NULL);
        if (r < 0)
                return r;
        /* A regular file cannot be watched, and is not closed by anybody either */
        r = sd_event_add_io(m->event, NULL, STDOUT_FILENO, 0, on_output, m);
        return r == -EPERM ? 0 : r;
}

static int subscribe(Monitor *m) {
        int r;

        r = sd_bus_add_match(m->bus, NULL,
                             "type='signal',sender='" DMEMD_NAME "',path_namespace='" DMEMD_PATH
                             "'",
                             on_signal, m);
        if (r < 0)
                return r;
        return sd_bus_add_match(m->bus, NULL,
                                "type='signal',sender='org.freedesktop.DBus',"
                                "member='NameOwnerChanged',arg0='" DMEMD_NAME "'",
                                on_owner, m);
}

/* Only to know whether there is somebody to listen to. */
static void say_if_absent(void) {
        _cleanup_free_ char *text = NULL;

        if (dmemd_call("GetStatus", &text) == -ENOENT)
                message("dmemd does not run; waiting for it");
}

int verb_monitor(Dmemctl *d, int argc, char *argv[]) {
        _cleanup_(monitor_done) Monitor m = { .d = d };
        int r;

        if (!streq(d->root, "/"))
                return usage_error("monitor follows the running dmemd, and knows no --root=");
        r = sd_event_new(&m.event);
        if (r >= 0)
                r = add_signals(&m);
        if (r < 0)
                return r;
        r = sd_bus_open_system(&m.bus);
        if (r >= 0)
                r = subscribe(&m);
        if (r >= 0)
                r = sd_bus_set_exit_on_disconnect(m.bus, true);
        if (r >= 0)
                r = sd_bus_attach_event(m.bus, m.event, SD_EVENT_PRIORITY_NORMAL);
        if (r < 0) {
                message("cannot listen on the system bus: %s", strerror(-r));
                return EXIT_FAILURE;
        }
        say_if_absent();
        r = sd_event_loop(m.event);
        if (r > 0 && !ferror(stdout))
                message("the system bus has gone away");
        return r;
}
