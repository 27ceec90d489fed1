# What the machine runs at each boot; see packaging/appliance.sh.
trap "journalctl -q -b -o short-precise >journal.\$stage" TERM
cd /probe
. ./lib.sh
. ./site.sh
stage=$(cat stage)
. "./$stage.sh" || exit 1
journalctl -q -b -o short-precise >"journal.$stage"
echo "$stage" >ended
