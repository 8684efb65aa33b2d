/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "host/bootloader.h"
#include "plan/cmdline.h"
#include "tree.h"

#define ID "646d656d0000000000000000000000aa"
#define OTHER "646d656d0000000000000000000000bb"
#define SYSTEMD_BOOT(root)                                                                         \
        { root "/EFI/systemd/systemd-bootx64.efi", "" }
#define MACHINE                                                                                    \
        { "etc/machine-id", ID "\n" }
#define GRUB_BLS                                                                                   \
        { "boot/grub2/grub.cfg", "set default=\"${saved_entry}\"\ninsmod blscfg\nblscfg\n" }
#define GRUB_DEBIAN                                                                                \
        { "boot/grub/grub.cfg", "menuentry 'D' {\n linux /boot/vmlinuz-6.1 ro\n}\n" },             \
                { "etc/default/grub", "GRUB_DEFAULT=0\n" }, {                                      \
                "etc/default/grub.d/x", ""                                                         \
        }
#define ENTRY(options) "title T\nversion 6.12.1\nlinux /" ID "/6.12.1/linux\noptions " options "\n"

typedef struct File {
        const char *path, *text;
} File;

enum {
        FILES_MAX = 9
};

static int fill(const File *files) {
        int fd = tree_new();

        for (size_t i = 0; i < FILES_MAX && files[i].path; i++)
                tree_write(fd, files[i].path, files[i].text);
        return fd;
}

TEST(find) {
        static const struct {
                const char *label;
                BootLoaderType asked;
                int r;
                BootLoaderType found;
                File files[FILES_MAX];
        } table[] = {
                { "nothing", 0, -ENOENT, 0, { MACHINE } },
                { "Debian with GRUB", 0, 0, BOOT_LOADER_GRUB, { MACHINE, GRUB_DEBIAN } },
                { "Fedora",
                  0,
                  0,
                  BOOT_LOADER_BLS,
                  { MACHINE, GRUB_BLS, { "boot/loader/entries/" ID "-6.conf", ENTRY("ro") } } },
                { "Fedora, grub.cfg left out of a capture",
                  0,
                  0,
                  BOOT_LOADER_BLS,
                  { MACHINE,
                    { "boot/loader/entries/" ID "-6.conf",
                      ENTRY("ro") "grub_users $grub_users\n" } } },
                { "Fedora, as its settings say",
                  0,
                  0,
                  BOOT_LOADER_BLS,
                  { MACHINE,
                    { "etc/default/grub", "GRUB_ENABLE_BLSCFG=true\n" },
                    { "boot/loader/entries/" ID "-6.conf", ENTRY("ro") } } },
                { "systemd-boot",
                  0,
                  0,
                  BOOT_LOADER_KERNEL_INSTALL,
                  { MACHINE, { "boot/efi/loader/entries/" ID "-6.conf", ENTRY("ro") } } },
                { "systemd-boot, token of the distribution",
                  0,
                  0,
                  BOOT_LOADER_KERNEL_INSTALL,
                  { MACHINE,
                    { "etc/os-release", "ID=debian\n" },
                    { "efi/loader/entries/debian-6.conf", ENTRY("ro") } } },
                { "systemd-boot, token of the administrator",
                  0,
                  0,
                  BOOT_LOADER_KERNEL_INSTALL,
                  { MACHINE,
                    { "etc/kernel/entry-token", "mine\n" },
                    { "efi/loader/entries/mine-6.conf", ENTRY("ro") } } },
                { "an image alone",
                  0,
                  0,
                  BOOT_LOADER_KERNEL_INSTALL,
                  { MACHINE, { "efi/EFI/Linux/" ID "-6.efi", "MZ" } } },
                { "entries made by hand",
                  0,
                  0,
                  BOOT_LOADER_BLS,
                  { MACHINE, { "boot/loader/entries/arch.conf", ENTRY("ro") } } },
                { "GRUB, entries left behind by systemd-boot",
                  0,
                  0,
                  BOOT_LOADER_GRUB,
                  { MACHINE,
                    GRUB_DEBIAN,
                    { "usr/sbin/update-grub", "" },
                    { "boot/efi/loader/entries/" ID "-6.conf", ENTRY("ro") } } },
                { "systemd-boot, files left behind by GRUB",
                  0,
                  0,
                  BOOT_LOADER_KERNEL_INSTALL,
                  { MACHINE,
                    GRUB_DEBIAN,
                    SYSTEMD_BOOT("boot/efi"),
                    { "boot/efi/loader/entries/" ID "-6.conf", ENTRY("ro") } } },
                { "both in working order",
                  0,
                  -ENOTUNIQ,
                  0,
                  { MACHINE,
                    GRUB_DEBIAN,
                    { "usr/sbin/update-grub", "" },
                    SYSTEMD_BOOT("boot/efi"),
                    { "boot/efi/loader/entries/" ID "-6.conf", ENTRY("ro") } } },
                { "both, and the configuration says which",
                  BOOT_LOADER_KERNEL_INSTALL,
                  0,
                  BOOT_LOADER_KERNEL_INSTALL,
                  { MACHINE,
                    GRUB_DEBIAN,
                    { "usr/sbin/update-grub", "" },
                    { "boot/efi/loader/entries/" ID "-6.conf", ENTRY("ro") } } },
                { "kernel-install asked for, entries made by hand",
                  BOOT_LOADER_KERNEL_INSTALL,
                  -ENOENT,
                  0,
                  { MACHINE, { "boot/loader/entries/arch.conf", ENTRY("ro") } } },
                { "bls asked for, entries of kernel-install",
                  BOOT_LOADER_BLS,
                  0,
                  BOOT_LOADER_BLS,
                  { MACHINE, { "boot/loader/entries/" ID "-6.conf", ENTRY("ro") } } },
                { "GRUB asked for on a host of systemd-boot",
                  BOOT_LOADER_GRUB,
                  -ENOENT,
                  0,
                  { MACHINE, { "boot/loader/entries/" ID "-6.conf", ENTRY("ro") } } },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(policy_freep) Policy *policy = policy_new();
                _cleanup_(boot_loader_freep) BootLoader *loader = NULL;
                _cleanup_close_ int fd = fill(table[i].files);
                _cleanup_free_ char *why = NULL;

                policy->boot_loader = table[i].asked;
                EXPECT_EQ(table[i].label, boot_loader_find(fd, policy, &loader), table[i].r);
                if (loader)
                        EXPECT_EQ(table[i].label, boot_loader_type(loader), table[i].found);
                why = boot_loader_explain(fd, policy);
                EXPECT_TRUE(table[i].label, why && strchr(why, ':'));
        }
}

/* UTF-16 behind four bytes of attributes, as efivarfs shows a variable. */
static void write_variable(int fd, const char *name, const char *value) {
        char path[128], raw[256] = { 0 };
        size_t size = 4;

        (void)snprintf(path, sizeof(path),
                       "sys/firmware/efi/efivars/%s-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f", name);
        for (; *value != '\0'; value++, size += 2)
                raw[size] = *value;
        tree_write_bytes(fd, path, raw, size + 2);
}

TEST(find_by_what_made_this_boot) {
        static const File files[FILES_MAX] = {
                MACHINE,
                GRUB_DEBIAN,
                { "usr/sbin/update-grub", "" },
                SYSTEMD_BOOT("boot/efi"),
                { "boot/efi/loader/entries/" ID "-6.conf", ENTRY("ro") },
        };
        static const struct {
                const char *info;
                BootLoaderType found;
        } table[] = {
                { "systemd-boot 257.3", BOOT_LOADER_KERNEL_INSTALL },
                { "GRUB 2.12", BOOT_LOADER_GRUB },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(policy_freep) Policy *policy = policy_new();
                _cleanup_(boot_loader_freep) BootLoader *loader = NULL;
                _cleanup_close_ int fd = fill(files);

                write_variable(fd, "LoaderInfo", table[i].info);
                EXPECT_EQ(table[i].info, boot_loader_find(fd, policy, &loader), 0);
                if (loader)
                        EXPECT_EQ(table[i].info, boot_loader_type(loader), table[i].found);
        }
}

/* A line each: `*` for the default, the kind, the file, our arguments. */
static char *describe(const BootEntries *entries) {
        static const char kinds[] = { 'n', 'r', 'o', 'i' };
        char *text = NULL;
        size_t size = 0;
        FILE *f = open_memstream(&text, &size);

        for (size_t i = 0; i < entries->n_items; i++) {
                const BootEntry *e = entries->items + i;
                _cleanup_free_ char *arguments = arguments_join(e->arguments);
                const char *name = strrchr(e->path, '/') + 1;

                fprintf(f, "%s%c %s%s%s\n", e->is_default ? "*" : "", kinds[e->kind],
                        startswith(name, ID) ? name + strlen(ID) : name, *arguments ? " " : "",
                        arguments);
        }
        fclose(f);
        return text;
}

#define E "boot/loader/entries/"
#define GRUBENV(text)                                                                              \
        { "boot/grub2/grubenv", "# GRUB Environment Block\n" text "\n####" }

TEST(entries) {
        static const struct {
                const char *label;
                File files[FILES_MAX];
                const char *expected;
        } table[] = {
                { "the newest kernel first, and the default",
                  { MACHINE,
                    { E ID "-6.9.1.conf", "linux /vmlinuz-6.9.1\noptions ro\n" },
                    { E ID "-6.12.1.conf", "linux /vmlinuz-6.12.1\noptions dmem=1G\n" } },
                  "*n -6.12.1.conf dmem=1G\nn -6.9.1.conf\n" },
                { "sort-key comes first",
                  { MACHINE,
                    { E ID "-6.9.1.conf", "sort-key a\nversion 6.9\nlinux /l\n" },
                    { E ID "-6.12.1.conf", "linux /l\n" },
                    { E ID "-6.8.1.conf", "sort-key a\nversion 6.8\nlinux /l\n" } },
                  "*n -6.9.1.conf\nn -6.8.1.conf\nn -6.12.1.conf\n" },
                { "default by a pattern of loader.conf",
                  { MACHINE,
                    { "boot/loader/loader.conf", "timeout 3\ndefault " ID "-6.9*\n" },
                    { E ID "-6.9.1.conf", "linux /l\n" },
                    { E ID "-6.12.1.conf", "linux /l\n" } },
                  "n -6.12.1.conf\n*n -6.9.1.conf\n" },
                { "one that counts its tries, and one that has none left",
                  { MACHINE,
                    { "boot/loader/loader.conf", "default " ID "-6.9.1.conf\n" },
                    { E ID "-6.9.1+2-1.conf", "linux /l\n" },
                    { E ID "-6.12.1+0-3.conf", "linux /l\n" } },
                  "*n -6.9.1+2-1.conf\nn -6.12.1+0-3.conf\n" },
                { "others on the same partition, other programs, what is no text",
                  { MACHINE,
                    { E ID "-6.conf", "linux /l\n" },
                    { E OTHER "-6.conf", "linux /gone\noptions dmem=1G\n" },
                    { E "arch.conf", "linux /l\noptions dmem=2G\n" },
                    { E "shell.conf", "efi /shell.efi\noptions dmem=3G\n" },
                    { E "README", "linux /l\n" },
                    { E ".#dmemd-x.conf", "linux /l\n" } },
                  "o " OTHER "-6.conf dmem=1G\n*n -6.conf\no shell.conf\no arch.conf dmem=2G\n" },
                { "another system that boots first",
                  { MACHINE,
                    { E ID "-6.conf", "linux /l\n" },
                    { E OTHER "-6.conf", "linux /vmlinuz\noptions dmem=1G\n" },
                    { "boot/vmlinuz", "" } },
                  "*o " OTHER "-6.conf dmem=1G\nn -6.conf\n" },
                { "by hand, for repair",
                  { { E "arch.conf", "linux /l\noptions ro\n" },
                    { E "fix.conf", "linux /l\noptions ro systemd.unit=rescue.target\n" },
                    { E "init.conf", "linux /l\noptions ro -- single\n" },
                    { "boot/loader/loader.conf", "default arch\n" } },
                  "n init.conf\nr fix.conf\n*n arch.conf\n" },
                { "Fedora: the saved entry, rescue, entries of the machine it was installed on",
                  { MACHINE,
                    GRUB_BLS,
                    GRUBENV("saved_entry=" OTHER "-6.4.1"),
                    { E ID "-6.5.1.conf", "linux /l\noptions ro\n" },
                    { E OTHER "-6.4.1.conf", "linux /l\noptions ro\n" },
                    { E ID "-0-rescue.conf", "version 0-rescue-x\nlinux /l\noptions ro\n" } },
                  "*n " OTHER "-6.4.1.conf\nn -6.5.1.conf\nr -0-rescue.conf\n" },
                { "RHEL 8: variables",
                  { MACHINE,
                    GRUB_BLS,
                    GRUBENV("kernelopts=root=a dmem=1G"),
                    { E ID "-6.5.1.conf", "linux /l\noptions $kernelopts $tuned_params\n" },
                    { E ID "-6.4.1.conf", "linux /l\noptions $kernelopts hugepages=2\n" },
                    { E ID "-6.3.1.conf", "linux /l\noptions \\$kernelopts $x\n" } },
                  "*n -6.5.1.conf dmem=1G\nn -6.4.1.conf dmem=1G hugepages=2\nn -6.3.1.conf\n" },
                { "RHEL 8: variables that grub.cfg sets",
                  { MACHINE,
                    { "boot/grub2/grub.cfg", "set default=1\nset kernelopts=\"root=a dmem=1G\"\n"
                                             "set default_kernelopts=\"ro dmem=2G\"\nblscfg\n" },
                    { E ID "-6.5.1.conf", "linux /l\noptions $kernelopts\n" },
                    { E ID "-6.4.1.conf", "linux /l\n" } },
                  "n -6.5.1.conf dmem=1G\n*n -6.4.1.conf dmem=2G\n" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(policy_freep) Policy *policy = policy_new();
                _cleanup_(boot_loader_freep) BootLoader *loader = NULL;
                _cleanup_(boot_entries_done) BootEntries entries = { 0 };
                _cleanup_close_ int fd = fill(table[i].files);
                _cleanup_free_ char *got = NULL;

                EXPECT_EQ(table[i].label, boot_loader_find(fd, policy, &loader), 0);
                if (!loader)
                        continue;
                EXPECT_EQ(table[i].label, boot_loader_entries(loader, NULL, 0, &entries), 0);
                got = describe(&entries);
                EXPECT_STREQ(table[i].label, got, table[i].expected);
        }
}

/* Where our arguments go: a line for each file that changes. */
static char *describe_changes(const BootFiles *files) {
        char *text = NULL;
        size_t size = 0;
        FILE *f = open_memstream(&text, &size);

        for (size_t i = 0; i < files->n_items; i++) {
                const BootFile *file = files->items + i;

                if (file->before && file->after && streq(file->before, file->after))
                        continue;
                if (file->before || file->after)
                        fprintf(f, "%s: %s\n", strrchr(file->path, '/') + 1,
                                file->after ? file->after : "(removed)");
        }
        fclose(f);
        return text;
}

TEST(prepare) {
        static const struct {
                const char *label;
                File files[FILES_MAX];
                const char *expected;
        } table[] = {
                { "template and entry",
                  { MACHINE,
                    { "etc/kernel/cmdline", "root=a\n" },
                    { E ID "-6.conf", "linux /l\noptions root=a\n" } },
                  "cmdline: root=a dmem=4G\n\n" ID
                  "-6.conf: linux /l\noptions root=a dmem=4G\n\n" },
                { "a template is made of the default entry",
                  { MACHINE,
                    { "boot/loader/loader.conf", "default *-5.conf\n" },
                    { E ID "-6.conf", "linux /l\noptions dmem=4G root=b\n" },
                    { E ID "-5.conf",
                      "linux /l\noptions root=a systemd.machine_id=" ID " dmem=4G\n" } },
                  "cmdline: root=a dmem=4G\n\n" },
                { "a template is made of the vendor's",
                  { MACHINE,
                    { "usr/lib/kernel/cmdline", "root=v\n" },
                    { E ID "-6.conf", "linux /l\noptions dmem=4G root=b\n" } },
                  "cmdline: root=v dmem=4G\n\n" },
                { "entries made by hand have no template",
                  { { E "arch.conf", "linux /l\noptions root=a\n" } },
                  "arch.conf: linux /l\noptions root=a dmem=4G\n\n" },
                { "rescue stays clean and is cleaned, others stay as they are",
                  { MACHINE,
                    GRUB_BLS,
                    { "etc/kernel/cmdline", "root=a dmem=4G\n" },
                    { E ID "-0-rescue.conf", "linux /l\noptions root=a dmem=1G\n" },
                    { E "x-0-rescue.conf", "linux /l\noptions root=a\n" } },
                  ID "-0-rescue.conf: linux /l\noptions root=a\n\n" },
                { "kernelopts for all",
                  { MACHINE,
                    GRUB_BLS,
                    { "boot/grub2/grubenv",
                      "# GRUB Environment Block\nkernelopts=root=a\n##############" },
                    { E ID "-6.conf", "linux /l\noptions $kernelopts dmem=1G\n" },
                    { E ID "-5.conf", "linux /l\noptions root=b\n" } },
                  "grubenv: # GRUB Environment Block\nkernelopts=root=a dmem=4G\n######\n" ID
                  "-6.conf: linux /l\noptions $kernelopts\n\n" ID
                  "-5.conf: linux /l\noptions root=b dmem=4G\n\n" },
                { "kernelopts for rescue, too",
                  { MACHINE,
                    GRUB_BLS,
                    { "boot/grub2/grubenv",
                      "# GRUB Environment Block\nkernelopts=root=a dmem=1G\n##############" },
                    { E ID "-6.conf", "linux /l\noptions $kernelopts\n" },
                    { E ID "-0-rescue.conf", "linux /l\noptions $kernelopts\n" } },
                  "grubenv: # GRUB Environment "
                  "Block\nkernelopts=root=a\n######################\n" ID
                  "-6.conf: linux /l\noptions $kernelopts dmem=4G\n\n" },
                { "no room in grubenv",
                  { MACHINE,
                    GRUB_BLS,
                    { "boot/grub2/grubenv", "# GRUB Environment Block\nkernelopts=root=a\n##" },
                    { E ID "-6.conf", "linux /l\noptions $kernelopts\n" } },
                  ID "-6.conf: linux /l\noptions $kernelopts dmem=4G\n\n" },
                { "no kernelopts in grubenv, only what grub.cfg falls back to",
                  { MACHINE,
                    GRUB_BLS,
                    GRUBENV("saved_entry=x"),
                    { E ID "-6.conf", "linux /l\noptions $kernelopts\n" } },
                  ID "-6.conf: linux /l\noptions $kernelopts dmem=4G\n\n" },
        };
        char dmem[] = "dmem=4G", *arguments[] = { dmem, NULL };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_(policy_freep) Policy *policy = policy_new();
                _cleanup_(boot_loader_freep) BootLoader *loader = NULL;
                _cleanup_(boot_entries_done) BootEntries entries = { 0 };
                _cleanup_(boot_files_done) BootFiles files = { 0 };
                _cleanup_close_ int fd = fill(table[i].files);
                _cleanup_free_ char *got = NULL;

                EXPECT_EQ(table[i].label, boot_loader_find(fd, policy, &loader), 0);
                if (!loader)
                        continue;
                EXPECT_EQ(table[i].label, boot_loader_prepare(loader, arguments, &files), 0);
                got = describe_changes(&files);
                EXPECT_STREQ(table[i].label, got, table[i].expected);
                for (size_t j = 0; j < files.n_items; j++)
                        EXPECT_TRUE(table[i].label, boot_loader_owns(loader, files.items[j].path));
                EXPECT_EQ(table[i].label, boot_loader_preview(loader, &files, &entries), 0);
                EXPECT_EQ(table[i].label, boot_entries_check(&entries, arguments, NULL),
                          !strstr(table[i].label, "rescue stays"));
        }
}

TEST(owns) {
        static const File files[FILES_MAX] = {
                MACHINE, GRUB_BLS, GRUBENV("x=y"), { E ID "-6.conf", "linux /l\n" }
        };
        static const struct {
                const char *path;
                bool owns;
        } table[] = {
                { "etc/kernel/cmdline", true },
                { "boot/grub2/grubenv", true },
                { "boot/loader/entries/x.conf", true },
                { "boot/loader/entries/../x.conf", false },
                { "boot/loader/entries/.x.conf", false },
                { "boot/loader/entries/x", false },
                { "boot/loader/entries/x/y.conf", false },
                { "boot/efi/loader/entries/x.conf", false },
                { "boot/grub2/grub.cfg", false },
                { "etc/passwd", false },
                { "", false },
        };
        _cleanup_(policy_freep) Policy *policy = policy_new();
        _cleanup_(boot_loader_freep) BootLoader *loader = NULL;
        _cleanup_close_ int fd = fill(files);

        EXPECT_EQ("find", boot_loader_find(fd, policy, &loader), 0);
        for (size_t i = 0; i < ELEMENTSOF(table) && loader; i++)
                EXPECT_EQ(table[i].path, boot_loader_owns(loader, table[i].path), table[i].owns);
}

TEST_MAIN()
