#!/bin/sh
# Writes the script that the Phoronix Test Suite runs. HOME is the test's own folder here.
# VMAPBENCH_CHECKOUT: the clone of vmapbench, with kernels/ and playbooks/
# VMAPBENCH: the command; by default the one on PATH
# VMAPBENCH_CACHE: where kernels are built; by default below the user's real home

command=${VMAPBENCH:-$(command -v vmapbench)}
cache=${VMAPBENCH_CACHE:-${DEBUG_REAL_HOME:-$HOME}/.cache/vmapbench}
if [ ! -d "$VMAPBENCH_CHECKOUT/playbooks" ] || [ ! -x "$command" ]; then
	echo "set VMAPBENCH_CHECKOUT to the clone of vmapbench, and VMAPBENCH to its command" \
		> ~/install-message
	echo 2 > ~/install-exit-status
	exit
fi

quoted() {
	printf "'%s'" "$(printf %s "$1" | sed "s/'/'\\\\''/g")"
}

cat > vmapbench <<END
#!/bin/sh
# A failed boot is a result of the run: the test fails only if there are no results.
cd $(quoted "$VMAPBENCH_CHECKOUT") || exit 2
export VMAPBENCH_CACHE=$(quoted "$cache")
vmapbench=$(quoted "$command")
"\$vmapbench" run "\$@" --reports "\$HOME/reports" > "\$HOME/answer.txt" 2> "\$HOME/progress.txt"
case \$? in
0 | 1) "\$vmapbench" export latest --format pts_log --reports "\$HOME/reports" > "\$LOG_FILE" 2>&1 ;;
*) cat "\$HOME/answer.txt" "\$HOME/progress.txt" > "\$LOG_FILE"; false ;;
esac
echo \$? > "\$HOME/test-exit-status"
END
chmod +x vmapbench
echo 0 > ~/install-exit-status
