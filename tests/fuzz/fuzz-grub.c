/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "basic/root-fs.h"
#include "fuzz.h"
#include "host/grub-config.h"
#include "plan/cmdline.h"

const char *const fuzz_seeds[] = {
        "### BEGIN /etc/grub.d/00_header ###\nset default=\"${saved_entry}\"\n"
        "### END /etc/grub.d/00_header ###\n### BEGIN /etc/grub.d/10_linux ###\n"
        "menuentry 'Debian' --class os $menuentry_id_option 'gnulinux-simple-A' {\n"
        "\tif [ x = x ]; then insmod gzio; fi\n"
        "\tlinux\t/boot/vmlinuz-6.12 root=UUID=A ro dmem=0:4G,1:5G quiet\n}\n"
        "submenu 'More' $menuentry_id_option 'gnulinux-advanced-A' {\n"
        "menuentry 'Debian (recovery mode)' --id 'gnulinux-6.12-recovery-A' {\n"
        "\tlinux\t/boot/vmlinuz-6.12 root=UUID=A ro single\n}\n}\n"
        "### END /etc/grub.d/10_linux ###\n",
        "set default=\"1>0>>\"\nmenuentry \"a\\\"b\" {\n linux (hd0,1)/k \\\n hugepages=${x} "
        "'#'\n}",
        "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet acpi_osi=\\\"!Windows 2012\\\"\" # dmem=1G\n"
        "GRUB_CMDLINE_LINUX='hugepagesz=1G hugepages=4' \\\n dmem=5G\n",
        "# GRUB Environment Block\nsaved_entry=gnulinux-advanced-A>1\nkernelopts=ro\\\n####",
        "",
        NULL,
};

static void check_config(const char *text, size_t size, const char *saved_entry) {
        BootEntries entries = { 0 };
        char *none[] = { NULL };

        if (grub_config_parse("grub.cfg", text, size, saved_entry, &entries) < 0) {
                FUZZ_EXPECT(!entries.items && entries.n_items == 0);
                return;
        }
        for (size_t i = 0; i < entries.n_items; i++) {
                const BootEntry *e = entries.items + i;

                FUZZ_EXPECT(e->title && e->path && e->arguments);
                FUZZ_EXPECT(e->kernel || !e->arguments[0]);
                for (char **a = e->arguments; *a; a++)
                        FUZZ_EXPECT(cmdline_word_is_ours(*a));
        }
        (void)boot_entries_check(&entries, none, NULL);
        boot_entries_done(&entries);
}

static void check_arguments(const char *text, ShellText kind) {
        ForeignArguments found = { 0 };

        if (grub_find_arguments("f", text, kind, &found) < 0)
                abort();
        for (size_t i = 0; i < found.n_items; i++) {
                FUZZ_EXPECT(cmdline_word_is_ours(found.items[i].word));
                FUZZ_EXPECT(strstr(text, found.items[i].word));
                FUZZ_EXPECT(found.items[i].line > 0);
        }
        foreign_arguments_done(&found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = fuzz_text(data, size), *value = NULL;

        (void)grub_environment_get(text, "saved_entry", &value);
        check_config(text, size, value);
        check_config(text, size, text);
        check_arguments(text, SHELL_TEXT_SETTINGS);
        check_arguments(text, SHELL_TEXT_SCRIPT);
        return 0;
}
