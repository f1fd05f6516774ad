#!/bin/sh
# A campaign as a Slurm array, one task a shard, and a job that puts the shards together. See README.md.
#   sim/campaigns/slurm.sh [SHARDS [SEEDS [FOLDER]]]
# SIM names the program (target/sim/release/sim unless said otherwise). The folder must be one that all machines see.
# Options for sbatch, such as a partition, go into its own variables (SBATCH_PARTITION, SBATCH_ACCOUNT, ...).
set -eu
cd "$(dirname "$0")/../.."
shards=${1:-64}
seeds=${2:-0..10000}
folder=${3:-target/sim-campaign}
sim=${SIM:-target/sim/release/sim}
mkdir -p "$folder"

# A task that finds something fails, and the others go on.
task="exec $sim run all --seeds $seeds --twice-every 100 --jobs \$SLURM_CPUS_PER_TASK \
--shard \$SLURM_ARRAY_TASK_ID/$shards --report $folder/shards/\$SLURM_ARRAY_TASK_ID"
campaign=$(sbatch --parsable --job-name=seedmq-campaign --array="0-$((shards - 1))" --cpus-per-task="${CPUS:-4}" \
  --output="$folder/shard-%a.log" --wrap "$task")

# `merge` has the verdict; a shard that is missing or was ended early counts against the campaign.
merge="exec $sim merge $folder/shards/* --report $folder/report --json $folder/report/runs.json --junit $folder/report/junit.xml"
merged=$(sbatch --parsable --job-name=seedmq-merge --dependency="afterany:$campaign" --output="$folder/merge.log" --wrap "$merge")

echo "campaign: job $campaign, $shards shards; merge: job $merged, its table in $folder/merge.log"
