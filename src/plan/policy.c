/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "plan/policy.h"

int origin_set(Origin *origin, const char *path, unsigned line) {
        char *copy = NULL;

        if (path) {
                copy = strdup(path);
                if (!copy)
                        return -ENOMEM;
        }
        free(origin->path);
        *origin = (Origin){ .path = copy, .line = path ? line : 0 };
        return 0;
}

static void origin_done(Origin *origin) {
        free(origin->path);
        *origin = (Origin){};
}

Policy *policy_new(void) {
        _cleanup_(policy_freep) Policy *p = NULL;

        p = new0(Policy, 1);
        if (!p)
                return NULL;
        *p = (Policy){
                .backend = BACKEND_DMEM,
                .reserve = 2 * GiB,
                .reserve_percent = 3,
                .boot_node_reserve = 2 * GiB,
                .size = { .kind = DMEM_SIZE_REST },
                .align = 1 * GiB,
                .all_nodes = true,
                .optimize_vmemmap = true,
                .mount_page_size = 2 * MiB,
                .mount_mode = 0750,
                .boot_loader = BOOT_LOADER_AUTO,
        };
        p->mount_where = strdup("/run/dmemfs");
        p->mount_user = strdup("root");
        p->mount_group = strdup("root");
        if (!p->mount_where || !p->mount_user || !p->mount_group)
                return NULL;
        return TAKE_PTR(p);
}

static void node_policy_done(NodePolicy *n) {
        origin_done(&n->origin);
        origin_done(&n->reserve_origin);
        origin_done(&n->size_origin);
        origin_done(&n->pages_2m_origin);
        origin_done(&n->pages_1g_origin);
}

Policy *policy_free(Policy *p) {
        if (!p)
                return NULL;
        for (size_t i = 0; i < p->n_node_policies; i++)
                node_policy_done(&p->node_policies[i]);
        free(p->node_policies);
        id_set_done(&p->nodes);
        free(p->mount_where);
        free(p->mount_user);
        free(p->mount_group);
        free(p->boot_loader_file);
        origin_done(&p->backend_origin);
        origin_done(&p->reserve_origin);
        origin_done(&p->reserve_percent_origin);
        origin_done(&p->boot_node_reserve_origin);
        origin_done(&p->size_origin);
        origin_done(&p->align_origin);
        origin_done(&p->nodes_origin);
        origin_done(&p->cpu_less_nodes_origin);
        origin_done(&p->pages_2m_origin);
        origin_done(&p->pages_1g_origin);
        origin_done(&p->mount_page_size_origin);
        origin_done(&p->boot_loader_origin);
        free(p);
        return NULL;
}

/* Index of the first override of a node that is not below @id. */
static size_t node_policy_index(const Policy *p, unsigned id) {
        size_t low = 0, high = p->n_node_policies;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (p->node_policies[middle].id < id)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

const NodePolicy *policy_find_node(const Policy *p, unsigned id) {
        size_t i = node_policy_index(p, id);

        return i < p->n_node_policies && p->node_policies[i].id == id ? &p->node_policies[i] : NULL;
}

int policy_get_node(Policy *p, unsigned id, NodePolicy **ret) {
        size_t i = node_policy_index(p, id);
        NodePolicy *grown;

        if (i < p->n_node_policies && p->node_policies[i].id == id) {
                *ret = &p->node_policies[i];
                return 0;
        }
        grown = reallocarray(p->node_policies, p->n_node_policies + 1, sizeof(NodePolicy));
        if (!grown)
                return -ENOMEM;
        p->node_policies = grown;
        memmove(&grown[i + 1], &grown[i], (p->n_node_policies - i) * sizeof(NodePolicy));
        grown[i] = (NodePolicy){ .id = id };
        p->n_node_policies++;

        *ret = &grown[i];
        return 0;
}

static const char *const backend_names[_BACKEND_MAX] = {
        [BACKEND_DMEM] = "dmem",
        [BACKEND_HUGETLB] = "hugetlb",
        [BACKEND_NONE] = "none",
};

static const char *const boot_loader_names[_BOOT_LOADER_TYPE_MAX] = {
        [BOOT_LOADER_AUTO] = "auto", [BOOT_LOADER_GRUB] = "grub",
        [BOOT_LOADER_BLS] = "bls",   [BOOT_LOADER_KERNEL_INSTALL] = "kernel-install",
        [BOOT_LOADER_FILE] = "file",
};

static int find_name(const char *const *names, size_t n_names, const char *text) {
        for (size_t i = 0; i < n_names; i++)
                if (streq(names[i], text))
                        return (int)i;
        return -EINVAL;
}

const char *backend_to_string(Backend backend) {
        assert(backend < _BACKEND_MAX);
        return backend_names[backend];
}

int backend_from_string(const char *text, Backend *ret) {
        int i = find_name(backend_names, ELEMENTSOF(backend_names), text);

        if (i < 0)
                return i;
        *ret = (Backend)i;
        return 0;
}

const char *boot_loader_type_to_string(BootLoaderType type) {
        assert(type < _BOOT_LOADER_TYPE_MAX);
        return boot_loader_names[type];
}

int boot_loader_type_from_string(const char *text, BootLoaderType *ret) {
        int i = find_name(boot_loader_names, ELEMENTSOF(boot_loader_names), text);

        if (i < 0)
                return i;
        *ret = (BootLoaderType)i;
        return 0;
}
