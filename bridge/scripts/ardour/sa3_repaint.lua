ardour {
    ["type"] = "EditorAction",
    name = "sa3: Repaint Selected Region",
    license = "Apache-2.0",
    author = "sa3-daw",
    description = [[Make the part of the selected region that lies in the selected range anew (without a range: all of it); every sample
beside it stays bit-identical. The result is a new region at the same place, on the region's own track when that is selected.
Needs sa3-daw and sa3_common.lua and sa3_ardour.lua beside this script.]]
}

function factory() return function()
    local scripts = ARDOUR.user_config_directory(-1) .. "/scripts/"
    local sa3 = loadfile(scripts .. "sa3_common.lua")()  -- Ardour takes dofile and require away
    sa3.ardour = loadfile(scripts .. "sa3_ardour.lua")()(sa3)

    local function tell(text)
        LuaDialog.Message("sa3-daw", text, LuaDialog.MessageType.Info, LuaDialog.ButtonType.Close):run()
    end

    local selection = Editor:get_selection()
    local region
    for candidate in selection.regions:regionlist():iter() do
        local audio = candidate:to_audioregion()
        if not audio:isnil() then region = audio break end
    end
    if not region then return tell("Select an audio region and start this again.") end

    local place, length = region:position():samples(), region:length():samples()
    local first, last = place, place + length
    local time = selection.time
    if time:start_sample() < time:end_sample() then
        first, last = sa3.overlap(place, place + length, time:start_sample(), time:end_sample())
        if not first then return tell("The selected range lies outside the selected region.") end
    end

    local answers = LuaDialog.Dialog("sa3-daw: repaint", {
        { type = "entry", key = "prompt", title = "Prompt", default = "" },
        { type = "number", key = "seed", title = "Seed (0: any)", min = 0, max = 4294967295, step = 1, digits = 0, default = 0 },
    }):run()
    if not answers or answers.prompt == "" then return end

    local base = sa3.ardour.new_base(Session)
    local written, problem = sa3.ardour.write_region(region, base .. "-in.wav", Session:nominal_sample_rate())
    if not written then return tell("The region cannot be written: " .. tostring(problem)) end
    local request = sa3.ardour.request(Session, place, place + length)
    sa3.ardour.follow_tempo(request, base, place, place + length, 0)
    request.prompt = answers.prompt
    request.seed = answers.seed > 0 and math.tointeger(answers.seed) or nil
    request.input, request.output = base .. "-in.wav", base .. ".wav"
    request.regions = { { first - place, last - place } }
    local progress = sa3.ardour.run(sa3.inpaint_words(request), base, "sa3-daw: repaint")
    os.remove(request.input)
    if progress.state == "failed" then return tell(progress.text) end
    if progress.state == "done" then sa3.ardour.import(progress.written, place) end
end end
