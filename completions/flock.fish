# Completion of flock(1) for fish.

# Sets `places`, what is possible at the cursor: option (or its value), target (FILE or NUMBER),
# after_file (the word after FILE), line (the argument of -c), command, file, nothing; `operands`,
# the operands before the cursor; `fd` if there is no FILE (--fd, --name); and `who` with --who.
function __flock_read --no-scope-shadowing
    set places
    set fd
    set who
    # The first form is for fish 4, the second for earlier versions.
    set operands (commandline -xpc 2>/dev/null; or commandline -opc)
    set -e operands[1]
    while string match -q -- '-?*' $operands[1]
        set -l word $operands[1]
        set -e operands[1]
        test "$word" = --; and break
        string match -rq -- '^--(fd|name)(=|$)' $word; and set fd yes
        test "$word" = --who; and set who yes
        if __flock_wants_value $word
            if not set -q operands[1]
                set places option
                return
            end
            set -e operands[1]
        end
    end
    set -l count (count $operands)
    test $count = 0; and set places option
    if set -q who[1]
        set -q fd[1]; and set -a places nothing; or set -a places file
    else if set -q fd[1]
        set -a places command
    else if test $count = 0
        set -a places target
    else if test $count = 1
        set -a places after_file command
    else if not contains -- $operands[2] -c --command
        set -a places command
    else if test $count = 2
        set -a places line
    else
        set -a places nothing
    end
end

function __flock_at -a place
    set -l places
    set -l operands
    set -l fd
    set -l who
    __flock_read
    contains -- $place $places
end

# Whether the next word is the value of this option, or of the last of these short options.
function __flock_wants_value -a word
    set -l valued (__flock_options_with_value)
    switch $word
        case '--*=*'
            return 1
        case '--*'
            contains -- $word $valued; and return
            not contains -- $word (__flock_options); and string match -q -- "$word*" $valued
        case '*'
            set -l letters (string match -r -- '^-.$' $valued | string sub -s 2 | string join '')
            test -n "$letters"; and string match -rq -- "^-[^$letters]*[$letters]\$" $word
    end
end

# Values by their names in the table; there are no suggestions for the others.
function __flock_value -a name
    switch $name
        case TIME
            printf '%s\t%s\n' 0.5 'half a second' 10s 'ten seconds' 1m 'a minute' 5m 'five minutes' 1h 'an hour'
        case NUMBER
            __flock_descriptors
        case FILE
            __fish_complete_path (commandline -ct | string replace -r -- '^--[^=]*=' '')
    end
end

# The shell's descriptors of files and directories, and the files they refer to, except those that
# commands do not inherit (close-on-exec).
function __flock_descriptors
    for path in /proc/$fish_pid/fd/*
        test -f $path -o -d $path -o -b $path; or continue
        set -l number (string split / -- $path)[-1]
        string match -rq '^flags:.*[2367].{6}$' <(string replace /fd/ /fdinfo/ $path); and continue
        printf '%s\t%s\n' $number (readlink $path)
    end 2>/dev/null
end

# The command, completed as if it stood alone.
function __flock_command
    set -l places
    set -l operands
    set -l fd
    set -l who
    __flock_read
    set -q fd[1]; or set -e operands[1]
    complete --do-complete=(string join ' ' -- (string escape -- $operands) (commandline -ct))
end

# options: begin (from src/flock/args/mod.rs; cargo xtask docs)
complete -c flock -n '__flock_at option' -s s -l shared -d 'get a shared lock (read lock)'
complete -c flock -n '__flock_at option' -s x -s e -l exclusive -d 'get an exclusive lock (write lock), the default'
complete -c flock -n '__flock_at option' -s u -l unlock -d 'release the lock'
complete -c flock -n '__flock_at option' -s n -l nonblock -l nonblocking -l nb -d 'fail rather than wait'
complete -c flock -n '__flock_at option' -s w -l timeout -l wait -x -a '(__flock_value TIME)' -d 'wait at most TIME, e.g. 5, 0.5, 150ms, 1m30s'
complete -c flock -n '__flock_at option' -s E -l conflict-exit-code -x -a '(__flock_value STATUS)' -d 'exit status on conflict or timeout [default: 1]'
complete -c flock -n '__flock_at option' -s o -l close -d 'do not pass the lock\'s descriptor to COMMAND'
complete -c flock -n '__flock_at option' -s F -l no-fork -d 'exec COMMAND instead of forking'
complete -c flock -n '__flock_at option' -l fcntl -d 'use open file description locks of fcntl(2)'
complete -c flock -n '__flock_at option' -l start -x -a '(__flock_value OFFSET)' -d 'first byte of the lock [default: 0]; implies --fcntl'
complete -c flock -n '__flock_at option' -l length -x -a '(__flock_value BYTES)' -d 'bytes to lock [default: 0, all]; implies --fcntl'
complete -c flock -n '__flock_at option' -l fd -x -a '(__flock_value NUMBER)' -d 'lock descriptor NUMBER, then run COMMAND'
complete -c flock -n '__flock_at option' -l fair -d 'queue in arrival order with other --fair users'
complete -c flock -n '__flock_at option' -l queue -x -a '(__flock_value N)' -d 'fail rather than wait if N processes already wait'
complete -c flock -n '__flock_at option' -l replace -d 'stop the processes that hold the lock, by SIGTERM or SIGNAL'
complete -c flock -n '__flock_at option' -l progress -d 'show what flock waits for, and for how long'
complete -c flock -n '__flock_at option' -l slots -x -a '(__flock_value N)' -d 'allow up to N holders at once, in arrival order'
complete -c flock -n '__flock_at option' -l name -x -a '(__flock_value NAME)' -d 'lock the user\'s lock file of this name, instead of FILE'
complete -c flock -n '__flock_at option' -l path -d 'with --name: print the path of the lock file'
complete -c flock -n '__flock_at option' -l also -x -a '(__flock_value FILE)' -d 'also lock FILE; take all locks or none (repeatable)'
complete -c flock -n '__flock_at option' -l unlink -d 'remove the lock file after the last holder exits'
complete -c flock -n '__flock_at option' -l ttl -x -a '(__flock_value TIME)' -d 'the lock outlasts this machine by TIME [default: 30s]'
complete -c flock -n '__flock_at option' -l grace -x -a '(__flock_value TIME)' -d 'from SIGTERM to SIGKILL if it is lost, or with --replace [default: 5s]'
complete -c flock -n '__flock_at option' -l print-token -d 'with NUMBER SCHEME://...: print the lock\'s token'
complete -c flock -n '__flock_at option' -l verbose -d 'report the current holder, the wait time and the command'
complete -c flock -n '__flock_at option' -l who -d 'list the lock\'s holders and waiters'
complete -c flock -n '__flock_at option' -l json -d 'with --who: print JSON'
complete -c flock -n '__flock_at option' -l pids -d 'with --who: print only holder PIDs'
complete -c flock -n '__flock_at option' -l watch -d 'with --who: keep the table on the screen current'
complete -c flock -n '__flock_at option' -s h -l help -d 'print help and exit'
complete -c flock -n '__flock_at option' -s V -l version -d 'print version and exit'
function __flock_options
    string split ' ' -- '-s --shared -x -e --exclusive -u --unlock -n --nonblock --nonblocking --nb -w --timeout --wait -E --conflict-exit-code -o --close -F --no-fork --fcntl --start --length --fd --fair --queue --replace --progress --slots --name --path --also --unlink --ttl --grace --print-token --verbose --who --json --pids --watch -h --help -V --version'
end
function __flock_options_with_value
    string split ' ' -- '-w --timeout --wait -E --conflict-exit-code --start --length --fd --queue --slots --name --also --ttl --grace'
end
function __flock_after_file
    printf '%s\t%s\n' -c 'after FILE: run LINE with $SHELL -c'
    printf '%s\t%s\n' --command 'after FILE: run LINE with $SHELL -c'
end
# options: end
complete -c flock -n '__flock_at target' -k -a '(__flock_descriptors)'
complete -c flock -n '__flock_at after_file' -f -a '(__flock_after_file)'
complete -c flock -n '__flock_at line' -f -a '(complete --do-complete=(commandline -ct))'
complete -c flock -n '__flock_at nothing' -f
complete -c flock -n '__flock_at command' -f -a '(__flock_command)'
