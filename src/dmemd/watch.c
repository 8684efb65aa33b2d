/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <libmount.h>
#include <limits.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <time.h>

#include "dmemd/log.h"
#include "dmemd/poison.h"
#include "dmemd/watch.h"
#include "host/state.h"

#define RECEIVE_BUFFER_SIZE ((size_t)8 << 20)

/* An event may get lost, and allocations send none. */
#define REGULAR_USEC (UINT64_C(5) * 60 * 1000 * 1000)
#define REGULAR_ACCURACY_USEC (UINT64_C(30) * 1000 * 1000)

static int on_device(sd_device_monitor *monitor, sd_device *device, void *userdata) {
        _cleanup_(poison_event_done) PoisonEvent e = {};
        Manager *m = ASSERT_PTR(userdata);
        const char *key, *value;
        int r = 0;

        for (key = sd_device_get_property_first(device, &value); key && r >= 0;) {
                r = poison_event_set(&e, key, value);
                if (r >= 0)
                        key = sd_device_get_property_next(device, &value);
        }
        if (r >= 0)
                r = poison_event_check(&e);
        if (r >= 0) {
                poison_event(m, &e);
                return 0;
        }
        if (r != -ENOMSG)
                log_message(LOG_WARNING,
                            "A uevent of class dmem cannot be understood (%s=%s); reading the "
                            "kernel's list instead",
                            key ?: "a property is missing", value ?: "");
        manager_look_soon(m);
        return 0;
}

void watch_devices(Manager *m) {
        int r;

        r = sd_device_monitor_new(&m->device_monitor);
        /* As much as we are allowed; events that do not fit are found by their count */
        if (r >= 0)
                (void)sd_device_monitor_set_receive_buffer_size(m->device_monitor,
                                                                RECEIVE_BUFFER_SIZE);
        if (r >= 0)
                r = sd_device_monitor_filter_add_match_subsystem_devtype(m->device_monitor, "dmem",
                                                                         NULL);
        if (r >= 0)
                r = sd_device_monitor_attach_event(m->device_monitor, m->event);
        if (r >= 0)
                r = sd_device_monitor_start(m->device_monitor, on_device, m);
        if (r < 0)
                log_message(LOG_WARNING,
                            "Cannot watch the devices of class dmem: %s; going on, and looking "
                            "every few minutes",
                            strerror(-r));
}

static int on_mount(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        Manager *m = ASSERT_PTR(userdata);

        /* Level-triggered until it is taken; what changed we see in mountinfo itself. */
        (void)mnt_monitor_event_cleanup(m->mount_monitor);
        manager_look_soon(m);
        return 0;
}

void watch_mounts(Manager *m) {
        int r, fd;

        m->mount_monitor = mnt_new_monitor();
        r = m->mount_monitor ? mnt_monitor_enable_kernel(m->mount_monitor, true) : -ENOMEM;
        if (r >= 0) {
                fd = mnt_monitor_get_fd(m->mount_monitor);
                r = fd < 0 ? fd
                           : sd_event_add_io(m->event, &m->mount_source, fd, EPOLLIN, on_mount, m);
        }
        if (r < 0)
                log_message(LOG_WARNING,
                            "Cannot watch the mounts: %s; going on, and looking every few minutes",
                            strerror(-r));
}

static int on_applied(sd_event_source *source, const struct inotify_event *event, void *userdata) {
        Manager *m = ASSERT_PTR(userdata);

        if (event->mask & IN_IGNORED) /* the folder is gone; the next regular look tries again */
                m->applied_source = sd_event_source_disable_unref(m->applied_source);
        manager_look_soon(m);
        return 0;
}

void watch_applied(Manager *m) {
        char path[PATH_MAX];
        int r;

        if (m->applied_source)
                return;
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", m->root_fd, STATE_FOLDER);
        r = sd_event_add_inotify(m->event, &m->applied_source, path,
                                 IN_ONLYDIR | IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE, on_applied,
                                 m);
        if (r < 0 && r != -ENOENT && r != -ENOTDIR)
                log_message(LOG_WARNING,
                            "Cannot watch /%s/: %s; going on, and looking every few minutes",
                            STATE_FOLDER, strerror(-r));
}

static int on_regular(sd_event_source *source, uint64_t usec, void *userdata) {
        Manager *m = ASSERT_PTR(userdata);
        int r;

        watch_applied(m);
        (void)manager_look(m, 0);
        poison_look(m, 0);
        r = sd_event_source_set_time_relative(source, REGULAR_USEC);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int watch_clock(Manager *m) {
        return sd_event_add_time_relative(m->event, &m->regular_source, CLOCK_MONOTONIC,
                                          REGULAR_USEC, REGULAR_ACCURACY_USEC, on_regular, m);
}
