package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

func (c *completionCmd) Run(e *env) error {
	script := map[string]func(*kong.Application) string{"bash": bashScript, "zsh": zshScript, "fish": fishScript}[c.Shell]
	_, err := io.WriteString(e.out, script(e.model))
	return err
}

// words are what may follow a command, with what they are.
type words struct {
	path string // of the command, such as "location create"; "" is the root
	list []word
}

type word struct {
	name, help string
	value      bool // a flag that takes one
}

// wordsOf walks the tree of commands.
func wordsOf(app *kong.Application) (all []words) {
	var walk func(n *kong.Node, path string)
	walk = func(n *kong.Node, path string) {
		w := words{path: path}
		for _, child := range n.Children {
			w.list = append(w.list, word{name: child.Name, help: child.Help})
		}
		for _, group := range n.AllFlags(true) {
			for _, f := range group {
				w.list = append(w.list, word{"--" + f.Name, f.Help, !f.IsBool()})
				if f.Tag != nil && f.Tag.Negatable != "" {
					w.list = append(w.list, word{"--no-" + f.Name, f.Help, false})
				}
			}
		}
		for _, p := range n.Positional {
			for _, v := range p.EnumSlice() {
				w.list = append(w.list, word{name: v})
			}
		}
		all = append(all, w)
		for _, child := range n.Children {
			walk(child, strings.TrimSpace(path+" "+child.Name))
		}
	}
	walk(app.Node, "")
	return all
}

// cases are the branches of a shell's case over the path of the command.
func cases(all []words, line func(words) string) string {
	var b strings.Builder
	for _, w := range all {
		fmt.Fprintf(&b, "    '%s') %s ;;\n", w.path, line(w))
	}
	return b.String()
}

func names(w words) string {
	list := make([]string, len(w.list))
	for i, v := range w.list {
		list[i] = v.name
	}
	return strings.Join(list, " ")
}

// paths are all commands but the root, as alternatives of a case.
func paths(all []words) string {
	var list []string
	for _, w := range all[1:] {
		list = append(list, "'"+w.path+"'")
	}
	return strings.Join(list, "|")
}

func valued(all []words) string {
	seen := map[string]bool{}
	var list []string
	for _, w := range all {
		for _, v := range w.list {
			if v.value && !seen[v.name] {
				seen[v.name] = true
				list = append(list, v.name)
			}
		}
	}
	return strings.Join(list, "|")
}

func bashScript(app *kong.Application) string {
	all := wordsOf(app)
	return `# bash completion for holdfast: source <(holdfast completion bash)
_holdfast() {
  local word path='' try skip=0 current="${COMP_WORDS[COMP_CWORD]}" words=''
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    if ((skip)); then skip=0; continue; fi
    case "$word" in
    ` + valued(all) + `) skip=1; continue ;;
    -*) continue ;;
    esac
    try="${path:+$path }$word"
    case "$try" in
    ` + paths(all) + `) path="$try" ;;
    esac
  done
  if ((skip)); then
    COMPREPLY=($(compgen -f -- "$current"))
    return
  fi
  case "$path" in
` + cases(all, func(w words) string { return "words='" + names(w) + "'" }) + `  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  if [[ $current != -* && ${#COMPREPLY[@]} == 0 ]]; then COMPREPLY=($(compgen -f -- "$current")); fi
}
complete -o filenames -F _holdfast holdfast
`
}

func zshScript(app *kong.Application) string {
	all := wordsOf(app)
	return `#compdef holdfast
# zsh completion for holdfast: source <(holdfast completion zsh)
_holdfast() {
  local word try cmd='' skip=0
  local -a list
  for word in "${(@)words[2,CURRENT-1]}"; do
    if ((skip)); then skip=0; continue; fi
    case "$word" in
    ` + valued(all) + `) skip=1; continue ;;
    -*) continue ;;
    esac
    try="${cmd:+$cmd }$word"
    case "$try" in
    ` + paths(all) + `) cmd="$try" ;;
    esac
  done
  if ((skip)); then _files; return; fi
  case "$cmd" in
` + cases(all, func(w words) string {
		list := make([]string, len(w.list))
		for i, v := range w.list {
			list[i] = "'" + described(v, ":") + "'"
		}
		return "list=(" + strings.Join(list, " ") + ")"
	}) + `  esac
  _describe 'holdfast' list || _files
}
compdef _holdfast holdfast
`
}

func fishScript(app *kong.Application) string {
	all := wordsOf(app)
	var b strings.Builder
	b.WriteString(`# fish completion for holdfast: holdfast completion fish | source
function __holdfast_path
    set -l path ''
    set -l skip 0
    for word in (commandline -opc)[2..-1]
        if test $skip = 1
            set skip 0
            continue
        end
        switch $word
            case ` + strings.ReplaceAll(valued(all), "|", " ") + `
                set skip 1
                continue
            case '-*'
                continue
        end
        set -l try (string trim "$path $word")
        switch $try
            case ` + strings.ReplaceAll(paths(all), "|", " ") + `
                set path $try
        end # of switch
    end # of for
    echo $path
end
`)
	for _, w := range all {
		for _, v := range w.list {
			flag, isFlag := strings.CutPrefix(v.name, "--")
			what := "-a " + v.name
			if isFlag {
				what = "-l " + flag
				if v.value {
					what += " -r"
				}
			}
			fmt.Fprintf(&b, "complete -c holdfast -n 'test (__holdfast_path) = \"%s\"' %s -d '%s'\n", w.path, what, quoteless(v.help))
		}
	}
	return b.String()
}

// described is a word with its help, for a shell's single quotes.
func described(v word, between string) string {
	if v.help == "" {
		return v.name
	}
	return v.name + between + quoteless(v.help)
}

// quoteless takes out what would end a shell's quotes.
func quoteless(s string) string {
	return strings.NewReplacer("'", "", `\`, "", ":", " -", "\n", " ").Replace(s)
}
