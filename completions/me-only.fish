# Completion of me-only(1) for fish, made whole by `make docs`; its frame is in tests/suite/documents.

# Sets `words`, those before the cursor from the lock file on, and `before` to the first of all.
function __me_only_read --no-scope-shadowing
    set words (commandline -opc)
    set -e words[1]
    set before $words[1]
    test "$words[1]" = --; and set -e words[1]
end

function __me_only_at -a place
    set -l words
    set -l before
    __me_only_read
    switch $place
        case option
            not set -q before[1]
        case command
            set -q words[1]; and not string match -qr -- '^-[^-]|^--.' $before[1]
    end
end

# The command, completed as if it stood alone.
function __me_only_command
    set -l words
    set -l before
    __me_only_read
    set -q words[2]; or __fish_complete_path (commandline -ct)
    complete --do-complete=(string join ' ' -- (string escape -- $words[2..]) (commandline -ct))
end

complete -c me-only -n '__me_only_at option' -s h -l help -d 'show this help'
complete -c me-only -n '__me_only_at option' -s V -l version -d 'show the version'
complete -c me-only -n '__me_only_at command' -f -a '(__me_only_command)'
