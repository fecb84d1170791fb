# Completion of @name@(1) for fish, @made@.

# Sets `words` to the words before the cursor from the lock file on, and `before` to the first word
# of all.
function __@function@_read --no-scope-shadowing
    set words (commandline -opc)
    set -e words[1]
    set before $words[1]
    test "$words[1]" = --; and set -e words[1]
end

function __@function@_at -a place
    set -l words
    set -l before
    __@function@_read
    switch $place
        case option
            not set -q before[1]
        case command
            set -q words[1]; and not string match -qr -- '^-[^-]|^--.' $before[1]
    end
end

# The command, completed as if it stood alone.
function __@function@_command
    set -l words
    set -l before
    __@function@_read
@first word@
    complete --do-complete=(string join ' ' -- (string escape -- $words[2..]) (commandline -ct))
end

@options@
complete -c @name@ -n '__@function@_at command' -f -a '(__@function@_command)'
