/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "dmemctl/dmemd-client.h"
#include "dmemctl/verbs.h"

/* Somebody types this and waits; a daemon that takes longer is as good as none. */
#define ANSWER_USEC (UINT64_C(5) * 1000 * 1000)

static void sd_bus_donep(sd_bus **bus) {
        sd_bus_flush_close_unref(*bus);
}

static void sd_bus_message_donep(sd_bus_message **m) {
        sd_bus_message_unref(*m);
}

/* The daemon does not run, which is no trouble: as opposed to one that runs and does not answer. */
static bool means_not_running(const sd_bus_error *error, int r) {
        return sd_bus_error_has_name(error, SD_BUS_ERROR_SERVICE_UNKNOWN) ||
               sd_bus_error_has_name(error, SD_BUS_ERROR_NAME_HAS_NO_OWNER) || r == -ENOENT ||
               r == -ECONNREFUSED;
}

static int call(const char *method, sd_bus **ret_bus, sd_bus_message **ret_reply,
                sd_bus_error *error) {
        _cleanup_(sd_bus_message_donep) sd_bus_message *message = NULL;
        int r;

        r = sd_bus_open_system(ret_bus);
        if (r < 0)
                return r;
        r = sd_bus_message_new_method_call(*ret_bus, &message, DMEMD_NAME, DMEMD_PATH,
                                           DMEMD_INTERFACE, method);
        if (r < 0)
                return r;
        /* Looking must not start a service. */
        r = sd_bus_message_set_auto_start(message, false);
        if (r < 0)
                return r;
        return sd_bus_call(*ret_bus, message, ANSWER_USEC, error, ret_reply);
}

int dmemd_call(const char *method, char **ret) {
        _cleanup_(sd_bus_donep) sd_bus *bus = NULL;
        _cleanup_(sd_bus_message_donep) sd_bus_message *reply = NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        const char *text;
        int r;

        r = call(method, &bus, &reply, &error);
        if (r < 0 && means_not_running(&error, r))
                return -ENOENT;
        if (r >= 0)
                r = sd_bus_message_read(reply, "s", &text);
        if (r < 0) {
                message("cannot ask dmemd: %s; looking without it",
                        sd_bus_error_is_set(&error) ? error.message : strerror(-r));
                return r;
        }
        *ret = strdup(text);
        return *ret ? 0 : -ENOMEM;
}
