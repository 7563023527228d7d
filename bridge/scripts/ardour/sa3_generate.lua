ardour {
    ["type"] = "EditorAction",
    name = "sa3: Generate to Selection",
    license = "Apache-2.0",
    author = "sa3-daw",
    description = [[Generate audio of exactly the selected range (or the loop range) in the session's tempo and metre, and put it
on the selected track, or on a new one. Needs sa3-daw and sa3_common.lua and sa3_ardour.lua beside this script.]]
}

function factory() return function()
    local scripts = ARDOUR.user_config_directory(-1) .. "/scripts/"
    local sa3 = loadfile(scripts .. "sa3_common.lua")()  -- Ardour takes dofile and require away
    sa3.ardour = loadfile(scripts .. "sa3_ardour.lua")()(sa3)

    local function tell(text)
        LuaDialog.Message("sa3-daw", text, LuaDialog.MessageType.Info, LuaDialog.ButtonType.Close):run()
    end

    local time = Editor:get_selection().time
    local first, last = time:start_sample(), time:end_sample()
    if first >= last then first, last = sa3.ardour.loop_range(Session) end
    if not first then return tell("Select a range, or set a loop range, and start this again.") end

    local answers = LuaDialog.Dialog("sa3-daw: generate", {
        { type = "entry", key = "prompt", title = "Prompt", default = "" },
        { type = "entry", key = "negative_prompt", title = "Not (needs guidance above 1)", default = "" },
        { type = "number", key = "guidance", title = "Guidance (0: own)", min = 0, max = 20, step = 0.5, digits = 1, default = 0 },
        { type = "number", key = "seed", title = "Seed (0: any)", min = 0, max = 4294967295, step = 1, digits = 0, default = 0 },
    }):run()
    if not answers or answers.prompt == "" then return end

    local base = sa3.ardour.new_base(Session)
    local request, start_ppq = sa3.ardour.request(Session, first, last)
    sa3.ardour.follow_tempo(request, base, first, last, start_ppq)
    request.prompt, request.negative_prompt = answers.prompt, answers.negative_prompt
    request.guidance = answers.guidance > 0 and answers.guidance or nil
    request.seed = answers.seed > 0 and math.tointeger(answers.seed) or nil
    request.output = base .. ".wav"
    local progress = sa3.ardour.run(sa3.generate_words(request), base, "sa3-daw: generate")
    if progress.state == "failed" then return tell(progress.text) end
    if progress.state == "done" then sa3.ardour.import(progress.written, first) end
end end
