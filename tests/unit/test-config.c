/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "host/config.h"
#include "tree.h"

#define PATH "/etc/dmemd/dmemd.conf"

/* The whole policy as text, only what differs from the defaults would hide what was reset. */
static char *policy_to_text(const Policy *p) {
        char *text, *nodes = id_set_format(&p->nodes);
        size_t size;
        FILE *f = open_memstream(&text, &size);

        fprintf(f, "%s %ju/%u%%/%ju", backend_to_string(p->backend), (uintmax_t)p->reserve,
                p->reserve_percent, (uintmax_t)p->boot_node_reserve);
        fprintf(f, " size=%d:%ju align=%ju nodes=%s cpuless=%d", p->size.kind,
                (uintmax_t)p->size.value, (uintmax_t)p->align, p->all_nodes ? "all" : nodes,
                p->cpu_less_nodes);
        fprintf(f, " huge=%ju,%ju,%d", (uintmax_t)p->pages_2m, (uintmax_t)p->pages_1g,
                p->optimize_vmemmap);
        fprintf(f, " mount=%s,%ju,%o,%s,%s", p->mount_where, (uintmax_t)p->mount_page_size,
                p->mount_mode, p->mount_user, p->mount_group);
        fprintf(f, " boot=%s,%s", boot_loader_type_to_string(p->boot_loader),
                p->boot_loader_file ? p->boot_loader_file : "-");
        for (size_t i = 0; i < p->n_node_policies; i++) {
                const NodePolicy *n = &p->node_policies[i];

                fprintf(f, " node%u", n->id);
                if (n->has_reserve)
                        fprintf(f, " reserve=%ju", (uintmax_t)n->reserve);
                if (n->has_size)
                        fprintf(f, " size=%d:%ju", n->size.kind, (uintmax_t)n->size.value);
                if (n->has_pages_2m)
                        fprintf(f, " 2m=%ju", (uintmax_t)n->pages_2m);
                if (n->has_pages_1g)
                        fprintf(f, " 1g=%ju", (uintmax_t)n->pages_1g);
        }
        fclose(f);
        free(nodes);
        return text;
}

#define DEFAULTS                                                                                   \
        "dmem 2147483648/3%/2147483648 size=0:0 align=1073741824 nodes=all cpuless=0 huge=0,0,1 "  \
        "mount=/run/dmemfs,2097152,750,root,root boot=auto,-"

/* `4: message` per error, or `message` without a line; separated by newlines. */
static char *errors_to_text(const ConfigErrors *errors) {
        char *text;
        size_t size;
        FILE *f = open_memstream(&text, &size);

        for (size_t i = 0; i < errors->n_items; i++)
                fprintf(f, "%s%u: %s", i > 0 ? "\n" : "", errors->items[i].line,
                        errors->items[i].message);
        fclose(f);
        return text;
}

static void check_text(const char *label, const char *data, size_t size, const char *policy_text,
                       const char *errors_text) {
        _cleanup_(policy_freep) Policy *p = policy_new();
        _cleanup_free_ char *got = NULL, *got_errors = NULL;
        ConfigErrors errors = {};

        EXPECT_EQ(label, config_parse(PATH, data, size, &errors, p), 0);
        got_errors = errors_to_text(&errors);
        EXPECT_STREQ(label, got_errors, errors_text);
        if (policy_text) {
                got = policy_to_text(p);
                EXPECT_STREQ(label, got, policy_text);
        }
        config_errors_done(&errors);
}

TEST(values) {
        static const struct {
                const char *text;
                const char *policy;
        } table[] = {
                { "", DEFAULTS },
                { "# nothing\n; nothing\n\n[Plan]\n", DEFAULTS },
                { "[Plan]\nBackend=hugetlb\n"
                  "[Kernel]\nReserve=4G\nReservePercent=5\nBootNodeReserve=0\n"
                  "[Dmem]\nSize=64G\nAlign=128M\nNodes=0-3,7\nCPULessNodes=yes\n"
                  "[HugePages]\nPages2M=512\nPages1G=4\nOptimizeVmemmap=no\n"
                  "[Mount]\nWhere=/mnt/guest\nPageSize=1G\nMode=1777\nUser=qemu\nGroup=107\n"
                  "[Node 1]\nReserve=1G\nSize=50%\nPages2M=1\nPages1G=2\n"
                  "[BootLoader]\nType=file\nFile=/etc/dmem-args\n",
                  "hugetlb 4294967296/5%/0 size=1:68719476736 align=134217728 nodes=0-3,7 "
                  "cpuless=1 huge=512,4,0 mount=/mnt/guest,1073741824,1777,qemu,107 "
                  "boot=file,/etc/dmem-args node1 reserve=1073741824 size=2:50 2m=1 1g=2" },
                /* An empty value is the default again, wherever it was set before. */
                { "[Plan]\nBackend=none\nBackend=\n[Kernel]\nReserve=1G\nReserve=\n"
                  "ReservePercent=9\nReservePercent=\nBootNodeReserve=1\nBootNodeReserve=\n"
                  "[Dmem]\nSize=0\nSize=\nAlign=2G\nAlign=\nNodes=1\nNodes=\nCPULessNodes=1\n"
                  "CPULessNodes=\n[HugePages]\nPages2M=1\nPages2M=\nPages1G=1\nPages1G=\n"
                  "OptimizeVmemmap=0\nOptimizeVmemmap=\n[Mount]\nWhere=/a\nWhere=\nPageSize=4K\n"
                  "PageSize=\nMode=0\nMode=\nUser=a\nUser=\nGroup=b\nGroup=\n"
                  "[BootLoader]\nType=bls\nType=\nFile=/x\nFile=\n",
                  DEFAULTS },
                { "[Node 3]\nSize=1G\nSize=\nPages1G=5\nPages1G=\n", DEFAULTS " node3" },
                /* Sections of a node add up, and come out sorted. */
                { "[Node 9]\nSize=1G\n[Node 2]\nSize=rest\n[Node 9]\nPages2M=7\n[Node  2]\n"
                  "Reserve=5\n[Node 02]\nPages1G=1\n",
                  DEFAULTS " node2 reserve=5 size=0:0 1g=1 node9 size=1:1073741824 2m=7" },
                { "[Node 65535]\nSize=0\n", DEFAULTS " node65535 size=1:0" },
                /* Blanks, ends of lines, a byte order mark */
                { "[Dmem]\n  Size \t=\t 1G \t\n", "dmem 2147483648/3%/2147483648 size=1:1073741824 "
                                                  "align=1073741824 nodes=all cpuless=0 huge=0,0,1 "
                                                  "mount=/run/dmemfs,2097152,750,root,root "
                                                  "boot=auto,-" },
                { "\xef\xbb\xbf[Plan]\r\nBackend=dmem\r\n", DEFAULTS },
                { "[Plan]\nBackend=dmem", DEFAULTS },
                { "[Plan]\n\tBackend=dmem", DEFAULTS },
                /* Continued lines: a comment between the parts does not end them. */
                { "[Plan]\nBackend=\\\n  dmem\n", DEFAULTS },
                { "[Plan]\nBackend=\\\n# not dmem\\\n; nor this\n  dmem\n", DEFAULTS },
                { "[Plan]\nBackend=dmem\\", DEFAULTS },
                { "[Plan]\n# a comment is not continued \\\nBackend=dmem\n", DEFAULTS },
                /* Notations */
                { "[Mount]\nWhere=//run///dmemfs/\nPageSize=2048K\nMode=00750\n[Dmem]\nAlign=1g\n"
                  "CPULessNodes=Off\nNodes=all\n[Kernel]\nReserve=0x80000000\n",
                  DEFAULTS },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                check_text(table[i].text, table[i].text, strlen(table[i].text), table[i].policy,
                           "");
}

#define SIZE_ALLOWED "it must be bytes, or a number with K, M, G or T as in 2G"
#define BOOL_ALLOWED "it must be yes or no"
#define OWNER_ALLOWED "it must be a name or a number"
#define PATH_ALLOWED "it must be an absolute path without . and .."
#define COUNT_ALLOWED "it must be a number of pages, 0 or more, on each node"
#define ALIGN_ALLOWED "it must be a power of two of at least 128M"
#define NODES_ALLOWED "it must be all, or a node list as in 0-3,7 with ids up to 65535"
#define DMEM_SIZE_ALLOWED                                                                          \
        "it must be rest, 0, bytes, a number with K, M, G or T as in 64G, or a share of the node " \
        "from 0% to 100%"

TEST(bad_values) {
        static const struct {
                const char *section, *assignment;
                const char *message; /* behind `VALUE is not understood, ` */
        } table[] = {
                { "Plan", "Backend=Dmem", "it must be dmem, hugetlb or none" },
                { "Kernel", "Reserve=2GB", SIZE_ALLOWED },
                { "Kernel", "Reserve=-1", SIZE_ALLOWED },
                { "Kernel", "Reserve=1.5G", SIZE_ALLOWED },
                { "Kernel", "Reserve=18446744073709551616", SIZE_ALLOWED },
                { "Kernel", "Reserve=16777216T", SIZE_ALLOWED },
                { "Kernel", "Reserve=2G # comment", SIZE_ALLOWED },
                { "Kernel", "BootNodeReserve=rest", SIZE_ALLOWED },
                { "Kernel", "ReservePercent=101", "it must be a number from 0 to 100" },
                { "Kernel", "ReservePercent=3%", "it must be a number from 0 to 100" },
                { "Dmem", "Size=all", DMEM_SIZE_ALLOWED },
                { "Dmem", "Size=101%", DMEM_SIZE_ALLOWED },
                { "Dmem", "Size=%", DMEM_SIZE_ALLOWED },
                { "Dmem", "Size=1.5%", DMEM_SIZE_ALLOWED },
                { "Dmem", "Size=0000000000000000000000050%", DMEM_SIZE_ALLOWED },
                { "Dmem", "Align=64M", ALIGN_ALLOWED },
                { "Dmem", "Align=3G", ALIGN_ALLOWED },
                { "Dmem", "Align=0", ALIGN_ALLOWED },
                { "Dmem", "Nodes=0-", NODES_ALLOWED },
                { "Dmem", "Nodes=3-1", NODES_ALLOWED },
                { "Dmem", "Nodes=0 1", NODES_ALLOWED },
                { "Dmem", "Nodes=65536", NODES_ALLOWED },
                { "Dmem", "Nodes=ALL", NODES_ALLOWED },
                { "Dmem", "CPULessNodes=maybe", BOOL_ALLOWED },
                { "HugePages", "Pages2M=1G", COUNT_ALLOWED },
                { "HugePages", "Pages1G=-1", COUNT_ALLOWED },
                { "HugePages", "OptimizeVmemmap=2", BOOL_ALLOWED },
                { "Mount", "Where=run/dmemfs", PATH_ALLOWED },
                { "Mount", "Where=/", PATH_ALLOWED },
                { "Mount", "Where=/run/../etc", PATH_ALLOWED },
                { "Mount", "PageSize=64K", "it must be 4K, 2M or 1G" },
                { "Mount", "Mode=rwx", "it must be an octal mode from 0 to 7777" },
                { "Mount", "Mode=10000", "it must be an octal mode from 0 to 7777" },
                { "Mount", "Mode=0800", "it must be an octal mode from 0 to 7777" },
                { "Mount", "User=a b", OWNER_ALLOWED },
                { "Mount", "User=4294967295", OWNER_ALLOWED },
                { "Mount", "Group=-x", OWNER_ALLOWED },
                { "Mount", "Group=1000x", OWNER_ALLOWED },
                { "Node 0", "Reserve=x", SIZE_ALLOWED },
                { "Node 0", "Size=x", DMEM_SIZE_ALLOWED },
                { "Node 0", "Pages2M=x", COUNT_ALLOWED },
                { "Node 0", "Pages1G=x", COUNT_ALLOWED },
                { "BootLoader", "Type=lilo", "it must be auto, grub, bls, kernel-install or file" },
                { "BootLoader", "File=args", PATH_ALLOWED },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                const char *equals = strchr(table[i].assignment, '=');
                char text[256], error[512];

                (void)snprintf(text, sizeof(text), "\n[%s]\n%s\n", table[i].section,
                               table[i].assignment);
                (void)snprintf(error, sizeof(error), "3: %.*s=\"%s\" is not understood, %s",
                               (int)(equals - table[i].assignment), table[i].assignment, equals + 1,
                               table[i].message);
                check_text(table[i].assignment, text, strlen(text),
                           streq(table[i].section, "Node 0") ? DEFAULTS " node0" : DEFAULTS, error);
        }
}

TEST(bad_lines) {
        static const struct {
                const char *text;
                const char *errors;
        } table[] = {
                { "Backend=dmem\n", "1: \"Backend\" stands before the first [Section]" },
                { "[Plan]\nBackend\n",
                  "2: \"Backend\" is neither a [Section] nor a Setting=value" },
                { "[Plan\nBackend=x\n", "1: the section header \"[Plan\" does not end in ]" },
                { "[Plan] # x\n", "1: the section header \"[Plan] # x\" does not end in ]" },
                { "[Plan]\nbackend=dmem\n",
                  "2: there is no setting \"backend\" in [Plan], it has Backend=" },
                { "[Plan]\n=dmem\n", "2: there is no setting \"\" in [Plan], it has Backend=" },
                { "[Plan]\nAlign=1G\n", "2: Align= belongs into [Dmem], [Plan] has Backend=" },
                { "[Node 1]\nAlign=1G\n", "2: Align= belongs into [Dmem], [Node N] has Reserve=, "
                                          "Size=, Pages2M=, Pages1G=" },
                /* What is in a section that does not exist is not looked at. */
                { "[Plna]\nBackend=x\nfoo=bar\n[Plan]\nBackend=y\n",
                  "1: there is no section \"Plna\", it must be one of [Plan], [Kernel], [Dmem], "
                  "[HugePages], [Mount], [Node N] or [BootLoader]\n"
                  "5: Backend=\"y\" is not understood, it must be dmem, hugetlb or none" },
                { "[Node]\n", "1: [Node] names no node, it must be [Node N] with N from 0 to "
                              "65535" },
                { "[Node x]\n", "1: [Node \"x\"] names no node, it must be [Node N] with N from 0 "
                                "to 65535" },
                { "[Node 65536]\n", "1: [Node \"65536\"] names no node, it must be [Node N] with N "
                                    "from 0 to 65535" },
                { "[Node 99999999999999999999]\n",
                  "1: [Node \"99999999999999999999\"] names no node, it must be [Node N] with N "
                  "from 0 to 65535" },
                /* The line of a continued one is where it begins. */
                { "[Plan]\n\nBackend=d \\\n  mem\n",
                  "3: Backend=\"d    mem\" is not understood, it must be dmem, hugetlb or none" },
                /* What a terminal would obey is not passed on. */
                { "[Plan]\nBackend=\x1b[2J\xc2\x9b\"\\x\n",
                  "2: Backend=\"\\x1b[2J\\xc2\\x9b\\x22\\x5cx\" is not understood, it must be "
                  "dmem, "
                  "hugetlb or none" },
                { "[Plan]\nBackend=0123456789012345678901234567890123456789012345678901234567890123"
                  "4567\n",
                  "2: "
                  "Backend=\"0123456789012345678901234567890123456789012345678901234567890123...\""
                  " is not understood, it must be dmem, hugetlb or none" },
                { "[Plan]\nBackend=\xff\n", "2: this line is not UTF-8" },
                { "[Plan]\n# caf\xe9\n", "2: this line is not UTF-8" },
                { "[Plan]\nBackend=\xed\xa0\x80\n", "2: this line is not UTF-8" },
                { "[Plan]\nBackend=\xc0\xaf\n", "2: this line is not UTF-8" },
                { "[Plan]\nBackend=\xf4\x90\x80\x80\n", "2: this line is not UTF-8" },
                { "[Plan]\nBackend=\xe2\x82\n", "2: this line is not UTF-8" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                check_text(table[i].text, table[i].text, strlen(table[i].text), NULL,
                           table[i].errors);
}

TEST(bytes) {
        static const char nul[] = "[Plan]\nBackend=dm\0em\nBackend=\\\nx\0\nBackend=none\n";
        size_t size = CONFIG_LINE_MAX + 64;
        char *text = new0(char, size);

        check_text("NUL", nul, sizeof(nul) - 1,
                   "none 2147483648/3%/2147483648 size=0:0 align=1073741824 nodes=all cpuless=0 "
                   "huge=0,0,1 mount=/run/dmemfs,2097152,750,root,root boot=auto,-",
                   "2: this line contains a NUL byte, this is no text file\n"
                   "4: this line contains a NUL byte, this is no text file");

        memset(text, ' ', size);
        memcpy(text, "[Plan]\nBackend=", 15);
        memcpy(text + size - 16, "dmem\nBackend=x\n ", 16);
        check_text("long line", text, size, NULL,
                   "2: this line is longer than 1 MiB\n"
                   "3: Backend=\"x\" is not understood, it must be dmem, hugetlb or none");
        free(text);
}

/* Origins lead a finding to the line that caused it. */
TEST(origins) {
        static const char text[] = "[Dmem]\nSize=1G\n[Node 4]\n\nSize=2G\nReserve=1G\nReserve=\n"
                                   "[Node 4]\n[Kernel]\nReserve=1\nReserve=\n";
        _cleanup_(policy_freep) Policy *p = policy_new();
        ConfigErrors errors = {};
        const NodePolicy *n;

        EXPECT_EQ("parse", config_parse(PATH, text, strlen(text), &errors, p), 0);
        EXPECT_EQ("errors", errors.n_items, 0);
        EXPECT_STREQ("Size=", p->size_origin.path, PATH);
        EXPECT_EQ("Size=", p->size_origin.line, 2);
        EXPECT_STREQ("Align=", p->align_origin.path, NULL);
        EXPECT_STREQ("Reserve= reset", p->reserve_origin.path, NULL);
        n = policy_find_node(p, 4);
        EXPECT_TRUE("[Node 4]", n);
        EXPECT_EQ("[Node 4]", n->origin.line, 3);
        EXPECT_EQ("Size= of 4", n->size_origin.line, 5);
        EXPECT_STREQ("Reserve= of 4 reset", n->reserve_origin.path, NULL);
        EXPECT_TRUE("[Node 3]", !policy_find_node(p, 3));
        EXPECT_TRUE("[Node 5]", !policy_find_node(p, 5));
}

/* Loads a tree and says which files counted, or the errors. */
static void check_tree(const char *label, int root_fd, const char *files, const char *errors_text) {
        ConfigErrors errors = {};
        char **paths = NULL, joined[1024] = "";
        _cleanup_free_ char *got = NULL;
        int r;

        r = config_list_files(root_fd, &errors, &paths);
        EXPECT_EQ(label, r, errors_text[0] ? -EBADMSG : 0);
        for (char **p = paths; p && *p; p++) {
                strcat(joined, p == paths ? "" : " ");
                strcat(joined, *p);
        }
        if (r == 0)
                EXPECT_STREQ(label, joined, files);
        got = errors_to_text(&errors);
        EXPECT_STREQ(label, got, errors_text);
        strv_free(paths);
        config_errors_done(&errors);
}

#define MAIN "dmemd/dmemd.conf"
#define DROP "dmemd/dmemd.conf.d/"
#define TEXT "[Plan]\n"

TEST(files) {
        int fd = tree_new();

        check_tree("nothing", fd, "", "");
        tree_write(fd, "usr/lib/" MAIN, TEXT);
        check_tree("usr/lib", fd, "usr/lib/" MAIN, "");
        tree_write(fd, "run/" MAIN, TEXT);
        check_tree("run before usr/lib", fd, "run/" MAIN, "");
        tree_write(fd, "etc/" MAIN, TEXT);
        check_tree("etc before run", fd, "etc/" MAIN, "");

        tree_write(fd, "usr/lib/" DROP "20-b.conf", TEXT);
        tree_write(fd, "etc/" DROP "10-a.conf", TEXT);
        tree_write(fd, "run/" DROP "30-c.conf", TEXT);
        check_tree("drop-ins are sorted by name", fd,
                   "etc/" MAIN " etc/" DROP "10-a.conf usr/lib/" DROP "20-b.conf run/" DROP
                   "30-c.conf",
                   "");
        tree_write(fd, "run/" DROP "20-b.conf", TEXT);
        tree_write(fd, "usr/lib/" DROP "10-a.conf", TEXT);
        check_tree("a higher folder replaces", fd,
                   "etc/" MAIN " etc/" DROP "10-a.conf run/" DROP "20-b.conf run/" DROP "30-c.conf",
                   "");
        tree_write(fd, "etc/" DROP ".hidden.conf", TEXT);
        tree_write(fd, "etc/" DROP "README", TEXT);
        tree_write(fd, "etc/" DROP "40-d.conf~", TEXT);
        tree_write(fd, "etc/" DROP "40-d.conf.bak", TEXT);
        tree_write(fd, "etc/" DROP "40-d.confx", TEXT);
        tree_write(fd, "etc/" DROP "50-folder.conf/60-x.conf", TEXT);
        tree_write(fd, "etc/" DROP "10-a.conf.d/60-x.conf", TEXT);
        check_tree("other names do not count", fd,
                   "etc/" MAIN " etc/" DROP "10-a.conf run/" DROP "20-b.conf run/" DROP "30-c.conf",
                   "");

        EXPECT_EQ("link", symlinkat("/dev/null", fd, "etc/" DROP "20-b.conf"), 0);
        check_tree("a link to /dev/null masks", fd,
                   "etc/" MAIN " etc/" DROP "10-a.conf run/" DROP "30-c.conf", "");
        tree_write(fd, "etc/" DROP "30-c.conf", "");
        check_tree("an empty file masks", fd, "etc/" MAIN " etc/" DROP "10-a.conf", "");
        tree_write(fd, "etc/" MAIN, "");
        check_tree("a masked main file does not mask drop-ins", fd, "etc/" DROP "10-a.conf", "");
        close(fd);
}

TEST(links) {
        int fd = tree_new();

        tree_write(fd, "usr/share/site.conf", TEXT);
        tree_write(fd, "etc/" DROP "10-a.conf", TEXT);
        EXPECT_EQ("link", symlinkat("/usr/share/site.conf", fd, "etc/" DROP "20-b.conf"), 0);
        check_tree("a link leads inside the root", fd,
                   "etc/" DROP "10-a.conf etc/" DROP "20-b.conf", "");
        EXPECT_EQ("link", symlinkat("nowhere", fd, "etc/" DROP "30-c.conf"), 0);
        EXPECT_EQ("link", symlinkat("40-d.conf", fd, "etc/" DROP "40-d.conf"), 0);
        check_tree("links that lead nowhere", fd, "",
                   "0: cannot be read: No such file or directory\n"
                   "0: cannot be read: Too many levels of symbolic links");
        close(fd);
}

TEST(load) {
        _cleanup_(policy_freep) Policy *p = NULL;
        ConfigErrors errors = {};
        int fd = tree_new();

        tree_write(fd, "etc/" MAIN, "[Kernel]\nReserve=4G\n[Dmem]\nSize=1G\n");
        tree_write(fd, "usr/lib/" DROP "10-a.conf", "[Dmem]\nSize=2G\n[Node 1]\nSize=1G\n");
        tree_write(fd, "etc/" DROP "20-b.conf", "[Kernel]\nReserve=\n[Node 1]\nPages1G=1\n");
        EXPECT_EQ("load", config_load(fd, NULL, &errors, &p), 0);
        EXPECT_EQ("errors", errors.n_items, 0);
        EXPECT_EQ("later wins", p->size.value, 2 * GiB);
        EXPECT_STREQ("origin", p->size_origin.path, "/usr/lib/" DROP "10-a.conf");
        EXPECT_EQ("reset by a later file", p->reserve, 2 * GiB);
        EXPECT_TRUE("sections add up", p->n_node_policies == 1 && p->node_policies[0].has_size &&
                                               p->node_policies[0].has_pages_1g);
        close(fd);
}

TEST(load_errors) {
        Policy *untouched = (Policy *)&test_checks, *p = untouched;
        _cleanup_free_ char *text = NULL;
        ConfigErrors errors = {};
        int fd = tree_new();

        tree_write(fd, "etc/" MAIN, "[Plan]\nBackend=x\n[BootLoader]\n\nType=file\n");
        tree_write(fd, "etc/" DROP "10-a.conf", "[Dmem]\nSize=x\n");
        EXPECT_EQ("load", config_load(fd, NULL, &errors, &p), -EBADMSG);
        EXPECT_TRUE("untouched", p == untouched);
        text = errors_to_text(&errors);
        EXPECT_STREQ("all of them", text,
                     "2: Backend=\"x\" is not understood, it must be dmem, hugetlb or none\n"
                     "2: Size=\"x\" is not understood, " DMEM_SIZE_ALLOWED "\n"
                     "5: Type=file needs the path of that file in File= of [BootLoader]");
        EXPECT_STREQ("path", errors.items[1].path, "/etc/" DROP "10-a.conf");
        EXPECT_STREQ("path", errors.items[2].path, "/etc/" MAIN);
        config_errors_done(&errors);

        /* A single file is of our own file system, and the host's files do not count. */
        EXPECT_EQ("single", config_load(fd, "/dev/null", &errors, &p), 0);
        EXPECT_EQ("single", errors.n_items, 0);
        policy_free(p);
        p = untouched;
        EXPECT_EQ("missing", config_load(fd, "/nowhere/x.conf", &errors, &p), -EBADMSG);
        EXPECT_STREQ("missing", errors.items[0].path, "/nowhere/x.conf");
        EXPECT_EQ("folder", config_load(fd, "/", &errors, &p), -EBADMSG);
        EXPECT_STREQ("folder", errors.items[1].message, "cannot be read: Is a directory");
        EXPECT_TRUE("untouched", p == untouched);
        config_errors_done(&errors);
        close(fd);
}

TEST_MAIN();
