# toyconf.sh KCONFIG REQUESTED: every known symbol is what was asked for, else not set
awk -v requested="$2" '
BEGIN { while ((getline line < requested) > 0) { split(line, part, "="); asked[part[1]] = part[2] } }
$1 == "config" { name = $2; order[++count] = name }
$1 == "depends" { needs[name] = $3 }
END {
	for (i = 1; i <= count; i++) {
		value = asked["CONFIG_" order[i]]
		if (needs[order[i]] && asked["CONFIG_" needs[order[i]]] != "y") value = ""
		if (value == "" || value == "n") print "# CONFIG_" order[i] " is not set"
		else print "CONFIG_" order[i] "=" value
	}
}' "$1"
