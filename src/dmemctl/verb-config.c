/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* check-config and cat-config: which configuration files count, what is in them and wrong in them
 */

#include "basic/root-fs.h"
#include "dmemctl/verbs.h"
#include "host/plan-json.h"

DEFINE_CLEANUP(char **, strv_free);

static json_object *error_to_json(const ConfigError *e) {
        _cleanup_(json_object_putp) json_object *object = NULL;

        object = json_object_new_object();
        if (!object || json_add(object, "path", json_object_new_string(e->path)) < 0)
                return NULL;
        if (e->line > 0 ? json_add(object, "line", json_object_new_int64(e->line)) < 0
                        : json_object_object_add(object, "line", NULL) < 0)
                return NULL;
        if (json_add(object, "message", json_object_new_string(e->message)) < 0)
                return NULL;
        return TAKE_PTR(object);
}

static json_object *errors_to_json(const ConfigErrors *errors) {
        _cleanup_(json_object_putp) json_object *object = NULL, *array = NULL;

        object = json_object_new_object();
        array = json_object_new_array();
        if (!object || !array)
                return NULL;
        for (size_t i = 0; i < errors->n_items; i++)
                if (json_append(array, error_to_json(&errors->items[i])) < 0)
                        return NULL;
        if (json_add(object, "version", json_object_new_int(1)) < 0 ||
            json_add(object, "valid", json_object_new_boolean(errors->n_items == 0)) < 0 ||
            json_add(object, "errors", TAKE_PTR(array)) < 0)
                return NULL;
        return TAKE_PTR(object);
}

int verb_check_config(Dmemctl *d, int argc, char *argv[]) {
        _cleanup_(policy_freep) Policy *policy = NULL;
        ConfigErrors errors = {};
        int r, status;

        r = config_load(d->root_fd, d->config_file, &errors, &policy);
        status = errors.n_items > 0 ? EXIT_CONFIGURATION : r;
        if (status >= 0 && d->json != JSON_MODE_OFF) {
                r = print_json(d, errors_to_json(&errors));
                status = r < 0 ? r : status;
        } else
                message_config_errors(&errors);
        config_errors_done(&errors);
        return status;
}

static int cat_file(Dmemctl *d, const char *path, bool first) {
        _cleanup_free_ char *data = NULL;
        size_t size;
        int r;

        r = root_read_file(d->root_fd, path, &data, &size);
        if (r < 0) {
                message("/%s: cannot be read: %s", path, strerror(-r));
                return EXIT_CONFIGURATION;
        }
        printf("%s%s# /%s%s\n", first ? "" : "\n", colour_dim(d), path, colour_off(d));
        (void)fwrite(data, 1, size, stdout);
        if (size > 0 && data[size - 1] != '\n')
                putchar('\n');
        return EXIT_SUCCESS;
}

int verb_cat_config(Dmemctl *d, int argc, char *argv[]) {
        _cleanup_(strv_freep) char **paths = NULL;
        ConfigErrors errors = {};
        int r, status = EXIT_SUCCESS;

        r = config_list_files(d->root_fd, &errors, &paths);
        message_config_errors(&errors);
        if (errors.n_items > 0)
                r = EXIT_CONFIGURATION;
        config_errors_done(&errors);
        if (r != 0)
                return r;

        pager_open(d);
        for (char **p = paths; *p && status == EXIT_SUCCESS; p++)
                status = cat_file(d, *p, p == paths);
        if (!paths[0] && d->legend)
                printf("# no configuration files, the defaults of dmemd.conf(5) hold\n");
        return status;
}
