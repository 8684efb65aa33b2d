/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "basic/root-fs.h"
#include "host/plan-json.h"
#include "host/state-json.h"
#include "host/state.h"
#include "test.h"

#define HEAD "{\"version\":1,\"backend\":\"dmem\",\"time_usec\":5,\"boot_id\":null,"

TEST(applied_there_and_back) {
        PlanNode nodes[] = {
                { .id = 0, .dmem_bytes = 4 * GiB, .huge_1g = 2 },
                { .id = 1 },
                { .id = 70, .dmem_bytes = UINT64_C(9000) * TiB / 1024, .huge_2m = 512 },
        };
        static char first[] = "dmem=0:4G,70:9000G", second[] = "hugepagesz=1G";
        char *arguments[] = { first, second, NULL };
        Plan plan = {
                .backend = BACKEND_HUGETLB,
                .nodes = nodes,
                .n_nodes = ELEMENTSOF(nodes),
                .arguments = arguments,
        };
        _cleanup_(applied_freep) Applied *made = NULL, *read = NULL;
        _cleanup_free_ char *text = NULL, *again = NULL;
        _cleanup_close_ int root_fd = root_open("/");

        EXPECT_EQ("new", applied_new(root_fd, &plan, &made), 0);
        EXPECT_EQ("to text", applied_to_text(made, &text), 0);
        EXPECT_EQ("from text", applied_from_text(text, strlen(text), &read), 0);
        EXPECT_EQ("to text again", applied_to_text(read, &again), 0);
        EXPECT_STREQ("the same", again, text);
        EXPECT_EQ("a node without anything is left out", read->n_nodes, 2);
        EXPECT_TRUE("node 1", applied_find_node(read, 1) == NULL);
        EXPECT_TRUE("node 70", applied_find_node(read, 70) != NULL);
        EXPECT_EQ("node 70", applied_find_node(read, 70)->dmem_bytes, nodes[2].dmem_bytes);
        EXPECT_EQ("backend", read->backend, BACKEND_HUGETLB);
        EXPECT_EQ("arguments", strv_length(read->arguments), 2);
}

TEST(applied_text) {
        static const struct {
                const char *text;
                int r;
        } table[] = {
                { HEAD "\"arguments\":[],\"nodes\":[]}", 0 },
                { HEAD "\"arguments\":[\"dmem=1G\"],\"nodes\":[],\"later\":{}}\n", 0 },
                { HEAD "\"arguments\":[],\"nodes\":[]} x", -EBADMSG },
                { HEAD "\"arguments\":[],\"nodes\":[]", -EBADMSG },
                { HEAD "\"arguments\":null,\"nodes\":[]}", -EBADMSG },
                { HEAD "\"arguments\":[5],\"nodes\":[]}", -EBADMSG },
                { HEAD "\"arguments\":[]}", -EBADMSG },
                { HEAD "\"arguments\":[],\"nodes\":[null]}", -EBADMSG },
                { HEAD "\"arguments\":[],\"nodes\":[{\"id\":0}]}", -EBADMSG },
                { HEAD "\"arguments\":[],\"nodes\":[{\"id\":-1,\"dmem_bytes\":0,\"pages_2m\":0,"
                       "\"pages_1g\":0}]}",
                  -EBADMSG },
                { HEAD "\"arguments\":[],\"nodes\":[{\"id\":1,\"dmem_bytes\":0,\"pages_2m\":0,"
                       "\"pages_1g\":0},{\"id\":1,\"dmem_bytes\":0,\"pages_2m\":0,"
                       "\"pages_1g\":0}]}",
                  -EBADMSG },
                { "{\"version\":2,\"backend\":\"dmem\",\"time_usec\":5,\"boot_id\":null,"
                  "\"arguments\":[],\"nodes\":[]}",
                  -EBADMSG },
                { "{\"version\":1,\"backend\":\"magic\",\"time_usec\":5,\"boot_id\":null,"
                  "\"arguments\":[],\"nodes\":[]}",
                  -EBADMSG },
                { "{}", -EBADMSG },
                { "[]", -EBADMSG },
                { "null", -EBADMSG },
                { "", -EBADMSG },
                { "{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{{", -EBADMSG },
                { "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", -EBADMSG },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                Applied *a = NULL;

                EXPECT_EQ(table[i].text,
                          applied_from_text(table[i].text, strlen(table[i].text), &a), table[i].r);
                EXPECT_EQ(table[i].text, a != NULL, table[i].r == 0);
                applied_free(a);
        }
}

TEST(any_bytes) {
        static const char data[] = "a\0b\xff\xfe\n\"\\\x1b";
        _cleanup_(json_object_putp) json_object *object = json_object_new_object(), *read = NULL;
        _cleanup_free_ char *text = NULL, *back = NULL;
        size_t size = 0;

        EXPECT_EQ("version", json_add(object, "version", json_object_new_int(1)), 0);
        EXPECT_EQ("data", json_add(object, "data", json_object_new_string_len(data, 9)), 0);
        EXPECT_EQ("to text", state_json_to_text(object, &text), 0);
        EXPECT_EQ("from text", state_json_from_text(text, strlen(text), &read), 0);
        EXPECT_EQ("get", state_json_get_bytes(read, "data", &back, &size), 0);
        EXPECT_EQ("size", size, 9);
        EXPECT_TRUE("same bytes", back && memcmp(back, data, 9) == 0);
}

TEST(load_nothing) {
        _cleanup_close_ int root_fd = root_open("/proc/self");
        Applied *a = NULL;

        EXPECT_EQ("no file", state_load_applied(root_fd, &a), -ENOENT);
        EXPECT_TRUE("untouched", a == NULL);
}

TEST_MAIN()
