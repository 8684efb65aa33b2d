/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "dmemd/bus.h"
#include "dmemd/log.h"

/* Somebody may be repairing the bus, or be starting it. */
#define RETRY_USEC (UINT64_C(5) * 1000 * 1000)

/* DBUS_REQUEST_NAME_REPLY_PRIMARY_OWNER of the D-Bus specification */
#define NAME_IS_OURS 1U

/* What sd-bus says to itself. */
#define LOCAL "org.freedesktop.DBus.Local"
#define LOCAL_PATH "/org/freedesktop/DBus/Local"

/*
 * Sees each message before the objects do. Here, and not in the getters, is where we look at the
 * host, so that one answer is made of one status.
 */
static int look_on_call(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Manager *m = ASSERT_PTR(userdata);
        const char *path = sd_bus_message_get_path(message);

        if (sd_bus_message_is_method_call(message, NULL, NULL) > 0 && path &&
            startswith(path, BUS_PATH))
                (void)manager_look(m, BUS_MAX_AGE_USEC);
        return 0; /* not ours to answer */
}

static int add_objects(Manager *m) {
        int r;

        r = sd_bus_add_filter(m->bus, NULL, look_on_call, m);
        if (r < 0)
                return r;
        r = sd_bus_add_object_manager(m->bus, NULL, BUS_PATH);
        if (r < 0)
                return r;
        r = bus_add_manager(m);
        if (r < 0)
                return r;
        return bus_add_nodes(m);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata) {
        Manager *m = ASSERT_PTR(userdata);
        int r;

        r = bus_start(m);
        return r < 0 ? sd_event_exit(m->event, EXIT_FAILURE) : 0;
}

static int try_again(Manager *m) {
        int r;

        m->bus_source = sd_event_source_disable_unref(m->bus_source);
        r = sd_event_add_time_relative(m->event, &m->bus_source, CLOCK_MONOTONIC, RETRY_USEC, 0,
                                       on_retry, m);
        if (r < 0)
                log_message(LOG_ERR, "Cannot set a timer: %s", strerror(-r));
        return r;
}

static int on_disconnected(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Manager *m = ASSERT_PTR(userdata);

        if (m->bus_named)
                log_message(LOG_WARNING,
                            "The system bus has gone away; going on without, and trying again");
        else if (!m->bus_failed)
                log_message(LOG_WARNING, "The system bus does not answer; going on without, and "
                                         "trying again");
        m->bus_failed = true;
        m->bus_named = false;
        manager_look_soon(m); /* to say so in the status */
        /* Who brings us this message holds another reference */
        m->bus = sd_bus_close_unref(m->bus);
        (void)try_again(m);
        return 0;
}

/* Said once, until it works again. */
static int failed(Manager *m, const char *why, int r) {
        if (!m->bus_failed)
                log_message(LOG_WARNING,
                            "No system bus: %s: %s; going on without, and trying again", why,
                            strerror(-r));
        m->bus_failed = true;
        m->bus = sd_bus_close_unref(m->bus);
        return try_again(m);
}

static int on_name(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        Manager *m = ASSERT_PTR(userdata);
        uint32_t result = 0;
        int r;

        r = sd_bus_message_is_method_error(reply, NULL) > 0
                    ? -sd_bus_message_get_errno(reply)
                    : sd_bus_message_read(reply, "u", &result);
        if (r < 0) {
                (void)failed(m,
                             r == -EACCES
                                     ? "cannot take the name " BUS_NAME "; see the policy in "
                                       "dbus-1/system.d/org.dmemd1.conf, which names the user that "
                                       "may"
                                     : "it does not answer",
                             r);
                return 0;
        }
        if (result != NAME_IS_OURS) {
                log_message(LOG_ERR, "The bus name %s is taken: another dmemd is running",
                            BUS_NAME);
                return sd_event_exit(m->event, EXIT_FAILURE);
        }
        if (m->bus_failed)
                log_message(LOG_NOTICE, "The system bus is there");
        m->bus_failed = false;
        m->bus_named = true;
        manager_look_soon(m);
        return 0;
}

/*
 * Nothing in it waits for an answer: a bus that hangs takes 90 seconds to be found out, and we have
 * other things to do, and a watchdog to answer.
 */
static int go_on_bus(Manager *m) {
        int r;

        r = sd_bus_open_system_with_description(&m->bus, "dmemd");
        if (r >= 0)
                r = add_objects(m);
        if (r >= 0)
                r = sd_bus_match_signal(m->bus, NULL, LOCAL, LOCAL_PATH, LOCAL, "Disconnected",
                                        on_disconnected, m);
        if (r >= 0)
                r = sd_bus_attach_event(m->bus, m->event, SD_EVENT_PRIORITY_NORMAL);
        if (r >= 0)
                r = sd_bus_request_name_async(m->bus, NULL, BUS_NAME, 0, on_name, m);
        return r;
}

int bus_start(Manager *m) {
        int r;

        r = go_on_bus(m);
        return r < 0 ? failed(m, "cannot connect", r) : 0;
}
