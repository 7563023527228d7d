-- REAPER action: make the part of the selected item under the razor edit or time selection anew, as its new take; every sample
-- beside it stays bit-identical. Never run in REAPER.

local folder = ({ reaper.get_action_context() })[2]:match("^(.*[/\\])")
local sa3 = dofile(folder .. "sa3_common.lua")
local host = dofile(folder .. "sa3_reaper.lua")(sa3)

local item = reaper.GetSelectedMediaItem(0, 0)
local take = item and reaper.GetActiveTake(item)
if not take or reaper.TakeIsMIDI(take) then return host.tell("Select an audio item and start this again.") end
if reaper.GetMediaItemTakeInfo_Value(take, "D_PLAYRATE") ~= 1 then
    return host.tell("The item plays at another rate than its file; glue it first.")
end

local place = reaper.GetMediaItemInfo_Value(item, "D_POSITION")
local length = reaper.GetMediaItemInfo_Value(item, "D_LENGTH")
local offset = reaper.GetMediaItemTakeInfo_Value(take, "D_STARTOFFS")
local source = reaper.GetMediaItemTake_Source(take)
local file_rate = reaper.GetMediaSourceSampleRate(source)
local first, last = place, place + length
local range_start, range_end = host.selected_range()
if range_start then
    first, last = sa3.overlap(place, place + length, range_start, range_end)
    if not first then return host.tell("The selection lies outside the selected item.") end
end

local input = reaper.GetMediaSourceFileName(source, "")
local start_sample, num_samples = sa3.range_samples(first - place + offset, last - place + offset, file_rate)
local file_samples = sa3.round_half_up(reaper.GetMediaSourceLength(source) * file_rate)
if input == "" or start_sample < 0 or start_sample + num_samples > file_samples then
    return host.tell("The item repeats, reverses or outlasts its file; glue it first.")
end

local answers = host.ask("repaint", { "Prompt", "Seed (empty: any)" })
if not answers then return end
local prompt, seed = answers[1], host.seed(answers[2])
if seed == false then return end
if prompt == "" then return host.tell("Write a prompt: what shall be heard.") end

local base = host.new_base()
local request = host.musical_time({
    prompt = prompt,
    seed = seed,
    input = input,
    output = base .. ".wav",
    regions = { { start_sample, start_sample + num_samples } },
}, place)
local file_start = place - offset
host.follow_tempo(request, base, file_start, file_start + reaper.GetMediaSourceLength(source), 0)
host.run(sa3.inpaint_words(request), base, "sa3-daw", function(paths) host.add_takes(paths, item, take) end)
