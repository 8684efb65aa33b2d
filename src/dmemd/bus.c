/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "dmemd/bus.h"
#include "dmemd/log.h"

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

int bus_start(Manager *m) {
        int r;

        r = sd_bus_open_system_with_description(&m->bus, "dmemd");
        if (r < 0) {
                log_message(LOG_ERR, "Cannot connect to the system bus: %s; is dbus.socket active?",
                            strerror(-r));
                return r;
        }
        r = add_objects(m);
        if (r < 0) {
                log_message(LOG_ERR, "Cannot add objects to the bus: %s", strerror(-r));
                return r;
        }
        r = sd_bus_request_name(m->bus, BUS_NAME, 0);
        if (r == -EEXIST || r == -EALREADY) {
                log_message(LOG_ERR, "The bus name %s is taken: another dmemd is running",
                            BUS_NAME);
                return r;
        }
        if (r < 0) {
                log_message(LOG_ERR,
                            "Cannot take the bus name %s: %s; see the policy in "
                            "dbus-1/system.d/org.dmemd1.conf, which names the user that may",
                            BUS_NAME, strerror(-r));
                return r;
        }
        /* Whoever manages us starts us again, and then we find the new bus. */
        r = sd_bus_set_exit_on_disconnect(m->bus, true);
        if (r < 0)
                return r;
        return sd_bus_attach_event(m->bus, m->event, SD_EVENT_PRIORITY_NORMAL);
}
