/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "host/status-json.h"
#include "host/status.h"
#include "temporary-root.h"
#include "test.h"

#define ZONEINFO(pages0, pages1)                                                                   \
        "Node 0, zone   Normal\n  pages free     1\n        present  " pages0 "\n"                 \
        "Node 1, zone   Normal\n  pages free     1\n        present  " pages1 "\n"

static void write_node(const TemporaryRoot *root, unsigned id, const char *size, const char *used) {
        const struct {
                const char *name, *value;
        } files[] = {
                { "requested_bytes", size }, { "size_bytes", size },      { "free_bytes", size },
                { "used_bytes", used },      { "poisoned_bytes", "0\n" },
        };
        char path[128], text[64];
        uint64_t start = (uint64_t)(id + 1) << 32;

        for (size_t i = 0; i < ELEMENTSOF(files); i++) {
                (void)snprintf(path, sizeof(path), "sys/class/dmem/node%u/%s", id, files[i].name);
                temporary_root_write(root, path, files[i].value);
        }
        (void)snprintf(path, sizeof(path), "sys/class/dmem/node%u/regions", id);
        (void)snprintf(text, sizeof(text), "0x%llx-0x%llx\n", (unsigned long long)start,
                       (unsigned long long)start + strtoull(size, NULL, 10));
        temporary_root_write(root, path, text);
}

/* Two nodes of 8 GiB, 4 of which are reserved on each, in force. */
static TemporaryRoot make_host(void) {
        TemporaryRoot root = temporary_root();

        temporary_root_write(&root, "proc/cmdline", "root=/dev/sda1 dmem=0:4G,1:4G\n");
        temporary_root_write(&root, "proc/iomem", "00000000-00000000 : dmem\n");
        temporary_root_write(&root, "proc/zoneinfo", ZONEINFO("1048576", "1048576"));
        temporary_root_write(&root, "sys/devices/system/node/node0/cpulist", "0-1\n");
        temporary_root_write(&root, "sys/devices/system/node/node1/cpulist", "\n");
        write_node(&root, 0, "4294967296\n", "0\n");
        write_node(&root, 1, "4294967296\n", "0\n");
        return root;
}

static Status *load(const TemporaryRoot *root) {
        _cleanup_(policy_freep) Policy *policy = policy_new();
        Status *s = NULL;

        EXPECT_EQ("load", status_load(root->fd, policy, &s), 0);
        if (!s)
                exit(EXIT_FAILURE);
        return s;
}

static void expect_bytes(const char *label, MaybeBytes value, uint64_t bytes) {
        EXPECT_TRUE(label, value.known);
        EXPECT_EQ(label, value.bytes, bytes);
}

TEST(in_force) {
        _cleanup_(temporary_root_done) TemporaryRoot root = make_host();
        _cleanup_(status_freep) Status *s = load(&root);

        EXPECT_STREQ("source", s->source, "files");
        EXPECT_EQ("state", s->state, STATE_IN_FORCE);
        EXPECT_EQ("reboot", s->reboot_required, false);
        EXPECT_EQ("configured", s->configured_source, CONFIGURED_UNKNOWN);
        EXPECT_TRUE("configured", !s->configured);
        expect_bytes("granted", s->granted, 8 * GiB);
        expect_bytes("requested", s->requested, 8 * GiB);
        expect_bytes("saved", s->metadata_saved, 8 * GiB / 64);
        EXPECT_EQ("nodes", s->n_nodes, 2);
        EXPECT_STREQ("cpus", s->nodes[0].cpus, "0-1");
        EXPECT_EQ("regions", s->nodes[1].n_regions, 1);
        EXPECT_STREQ("advice", s->advice, "Nothing to do.");
}

TEST(unknown_is_not_zero) {
        _cleanup_(temporary_root_done) TemporaryRoot root = make_host();
        _cleanup_(status_freep) Status *s = NULL;

        temporary_root_write(&root, "sys/class/dmem/node1/used_bytes", "-1\n");
        s = load(&root);
        EXPECT_TRUE("node 1", !s->nodes[1].used.known);
        EXPECT_TRUE("sum", !s->used.known);
        expect_bytes("node 0", s->nodes[0].used, 0);
        expect_bytes("others", s->granted, 8 * GiB);
}

TEST(garbage_does_not_wrap) {
        _cleanup_(temporary_root_done) TemporaryRoot root = make_host();
        _cleanup_(status_freep) Status *s = NULL;

        temporary_root_write(&root, "sys/class/dmem/node0/used_bytes", "18446744073709551615\n");
        temporary_root_write(&root, "sys/class/dmem/node1/used_bytes", "18446744073709551615\n");
        temporary_root_write(&root, "proc/cmdline", "dmem=0:18014398509481983K,0:9T@1M\n");
        s = load(&root);
        EXPECT_TRUE("sum", s->used.bytes == 0 || s->used.bytes == UINT64_MAX);
}

TEST(nothing_anywhere) {
        _cleanup_(temporary_root_done) TemporaryRoot root = temporary_root();
        _cleanup_(status_freep) Status *s = load(&root);

        EXPECT_EQ("state", s->state, STATE_NONE);
        EXPECT_EQ("nodes", s->n_nodes, 0);
        EXPECT_TRUE("booted", !s->booted);
}

TEST(without_configuration) {
        _cleanup_(temporary_root_done) TemporaryRoot root = make_host();
        _cleanup_(status_freep) Status *s = NULL;

        EXPECT_EQ("load", status_load(root.fd, NULL, &s), 0);
        EXPECT_EQ("backend", s->has_backend, false);
        EXPECT_EQ("state", s->state, STATE_IN_FORCE);
}

TEST(kernel_without_support) {
        _cleanup_(temporary_root_done) TemporaryRoot root = temporary_root();
        _cleanup_(status_freep) Status *s = NULL;

        temporary_root_write(&root, "proc/cmdline", "dmem=0:4G\n");
        temporary_root_write(&root, "proc/iomem", "00000000-00000000 : System RAM\n");
        temporary_root_write(&root, "proc/zoneinfo", ZONEINFO("2097152", "2097152"));
        temporary_root_write(&root, "sys/devices/system/node/node0/cpulist", "0-1\n");
        temporary_root_write(&root, "sys/devices/system/node/node1/cpulist", "2-3\n");
        s = load(&root);
        EXPECT_EQ("state", s->state, STATE_DRIFT);
        expect_bytes("booted", s->nodes[0].booted, 4 * GiB);
        expect_bytes("granted", s->nodes[0].granted, 0);
        EXPECT_TRUE("advice", strstr(s->advice, "CONFIG_DMEM"));
}

static void expect_same_text(const char *label, const Status *s) {
        _cleanup_(status_freep) Status *copy = NULL;
        _cleanup_free_ char *text = NULL, *again = NULL;

        EXPECT_EQ(label, status_format(s, &text), 0);
        EXPECT_EQ(label, status_parse(text, &copy), 0);
        if (!copy)
                return;
        EXPECT_EQ(label, status_format(copy, &again), 0);
        EXPECT_STREQ(label, again, text);
}

TEST(json_there_and_back) {
        _cleanup_(temporary_root_done) TemporaryRoot root = make_host();
        _cleanup_(status_freep) Status *s = NULL, *unknown = NULL, *drift = NULL;

        s = load(&root);
        expect_same_text("in force", s);

        temporary_root_write(&root, "proc/self/mountinfo",
                             "40 25 0:44 / /a rw - dmemfs dmemfs rw,pagesize=x,node=1\n");
        temporary_root_write(&root, "sys/class/dmem/node1/size_bytes", "?\n");
        unknown = load(&root);
        expect_same_text("unknown", unknown);

        temporary_root_write(&root, "proc/cmdline", "dmem=0:5G,1:4G,banana hugepages=7\n");
        drift = load(&root);
        expect_same_text("findings", drift);
}

TEST(json_refused) {
        static const char *const table[] = {
                "",
                "null",
                "[]",
                "7",
                "{}",
                "{\"version\":2}",
                "{\"version\":1,\"reboot_required\":false,\"source\":\"x\",\"state\":\"great\"}",
                "{\"version\":1,\"reboot_required\":0,\"source\":\"x\",\"state\":\"none\"}",
                "{\"version\":1,\"reboot_required\":false,\"source\":\"x\",\"state\":\"none\","
                "\"nodes\":[{}],\"mounts\":[],\"findings\":[],\"advice\":\"\"}",
                "{\"version\":1,\"reboot_required\":false,\"source\":\"x\",\"state\":\"none\","
                "\"nodes\":[{\"id\":-1,\"regions\":[]}],\"mounts\":[],\"findings\":[],"
                "\"advice\":\"\"}",
                "{\"version\":1,\"reboot_required\":false,\"source\":\"x\",\"state\":\"none\","
                "\"nodes\":[],\"mounts\":[],\"findings\":[{\"code\":1}],\"advice\":\"\"}",
                "{\"version\":1,\"reboot_required\":false,\"source\":\"x\",\"state\":\"none\","
                "\"nodes\":[],\"mounts\":[],\"findings\":[],\"advice\":\"\"} x",
                "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                Status *s = NULL;

                EXPECT_EQ(table[i], status_parse(table[i], &s), -EBADMSG);
                EXPECT_TRUE(table[i], !s);
        }
}

TEST(json_of_a_later_version_of_ours) {
        _cleanup_(status_freep) Status *s = NULL;

        EXPECT_EQ("more keys",
                  status_parse("{\"version\":1,\"reboot_required\":true,\"source\":\"dmemd\","
                               "\"state\":\"drift\",\"new\":{\"a\":[1]},\"nodes\":[],\"mounts\":[],"
                               "\"findings\":[{\"code\":\"brand-new\",\"severity\":\"grave\","
                               "\"node\":null,\"message\":\"m\"}],\"advice\":\"a\"}",
                               &s),
                  0);
        if (!s)
                return;
        EXPECT_STREQ("code", s->findings.items[0].code, "unknown");
        EXPECT_STREQ("message", s->findings.items[0].message, "m");
}

TEST_MAIN()
